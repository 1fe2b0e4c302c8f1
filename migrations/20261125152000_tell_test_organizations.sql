-- Organizations to try things with, apart from live ones for good: keys of either open only their own kind. One that has a row
-- here is a test organization from its first moment, and stays one.
create table tollgate.test_organizations (
  organization_id text        primary key references public.organizations (id),
  created_at      timestamptz not null default clock_timestamp()
);

alter table tollgate.test_organizations enable row level security;
alter table tollgate.test_organizations force  row level security;

create policy ledger_tells_test_organizations on tollgate.test_organizations for all    to tollgate_ledger  using (true) with check (true);
create policy auditor_reads_test              on tollgate.test_organizations for select to tollgate_auditor using (true);
create policy tenant_reads_test               on tollgate.test_organizations for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));

grant select, insert on tollgate.test_organizations to tollgate_ledger;
grant select         on tollgate.test_organizations to tollgate_auditor, tollgate_api, tollgate_worker;
