-- How long an organization keeps its prompts, its results and its idempotency records, and what is left of a job whose prompt or
-- result is gone (docs/decisions/0016).

-- No row: prompts and results for ever, idempotency records for 90 days.
create table tollgate.retention_settings (
  organization_id  text    primary key references public.organizations (id),
  prompt_days      integer,
  result_days      integer,
  idempotency_days integer not null default 90,
  constraint retention_settings_are_days check (
    prompt_days between 1 and 3650 and result_days between 1 and 3650 and idempotency_days between 1 and 3650)
);

alter table tollgate.retention_settings enable row level security;
alter table tollgate.retention_settings force  row level security;
create policy ledger_keeps_retention  on tollgate.retention_settings for all    to tollgate_ledger  using (true) with check (true);
create policy auditor_reads_retention on tollgate.retention_settings for select to tollgate_auditor using (true);
create policy tenant_reads_retention  on tollgate.retention_settings for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
grant select, insert, update on tollgate.retention_settings to tollgate_ledger;
grant select on tollgate.retention_settings to tollgate_api, tollgate_worker, tollgate_auditor;

alter table tollgate.jobs
  alter column input drop not null,
  add column input_erased_at  timestamptz,
  add column result_erased_at timestamptz,
  drop constraint jobs_delivered_means_a_stored_result,
  add constraint jobs_delivered_means_a_stored_result check (
    (state in ('delivered', 'charged')) = (result is not null or result_erased_at is not null)),
  add constraint jobs_have_their_input_until_it_is_erased check ((input is null) = (input_erased_at is not null)),
  add constraint jobs_are_erased_after_their_end check (
    (input_erased_at is null or ended_at is not null)
    and (result_erased_at is null or (state = 'charged' and result is null)));

-- What is still to be erased, oldest first; what has been leaves the index.
create index jobs_inputs_idx  on tollgate.jobs (organization_id, ended_at) where ended_at is not null and input_erased_at is null;
create index jobs_results_idx on tollgate.jobs (organization_id, ended_at) where state = 'charged' and result_erased_at is null;
-- On an expression: one that begins with organization_id ties with the primary key on an empty table, and every look-up of a key
-- would walk the organization's records.
create index idempotency_records_age_idx on tollgate.idempotency_records ((organization_id || '/'), created_at);

-- Series of usage are cut in the organization's own zone.
create policy tenant_reads_cycles on tollgate.billing_cycles for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
grant select on tollgate.billing_cycles to tollgate_api, tollgate_worker;
