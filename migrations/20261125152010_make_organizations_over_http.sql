-- Organizations and their members are made and changed over HTTP too, by functions that ask who may.

-- Which operator's request made an organization, and how it was answered first: what a repeat of the request finds, whichever
-- id it names. Those that an app inserts have no row here.
create table tollgate.organization_origins (
  organization_id text        primary key references public.organizations (id),
  actor           text        not null,
  key             text        not null,
  request_hash    bytea       not null,
  answer          jsonb       not null,
  created_at      timestamptz not null default clock_timestamp(),
  constraint organization_origins_key_is_bounded check (length(key) between 1 and 255),
  constraint organization_origins_one_for_a_request unique (actor, key)
);

alter table tollgate.organization_origins enable row level security;
alter table tollgate.organization_origins force  row level security;
create policy ledger_keeps_origins   on tollgate.organization_origins for all    to tollgate_ledger  using (true) with check (true);
create policy auditor_reads_origins  on tollgate.organization_origins for select to tollgate_auditor using (true);
grant select, insert on tollgate.organization_origins to tollgate_ledger;
grant select         on tollgate.organization_origins to tollgate_auditor;

-- An organization's plan is changed by whoever pays for it, not here: of a row that is there the name alone may change.
grant insert, update (name) on public.organizations to tollgate_ledger;

drop policy ledger_sees_profiles on public.user_profiles;
create policy ledger_keeps_profiles on public.user_profiles for all to tollgate_ledger using (true) with check (true);
grant insert, update (organization_id, role), delete on public.user_profiles to tollgate_ledger;

-- What one of them did, newest first.
create index audit_log_actor_idx on tollgate.audit_log (actor, id);
