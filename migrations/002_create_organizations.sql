-- Who owns tokens and who may use them. These two tables often exist already in the app's database: then they stay as
-- they are and only gain what is missing.

create table if not exists public.organizations (
  id         text        primary key,
  name       text        not null,
  plan       text        not null default 'starter',
  created_at timestamptz not null default clock_timestamp(),
  constraint organizations_id_is_an_id check (id ~ '^[A-Za-z0-9_-]{1,64}$')
);

create table if not exists public.user_profiles (
  id              text        primary key,
  organization_id text        not null references public.organizations (id),
  role            text        not null default 'member',
  created_at      timestamptz not null default clock_timestamp(),
  constraint user_profiles_role_is_known check (role in ('member', 'admin'))
);
alter table public.organizations
  add column if not exists plan text not null default 'starter';
alter table public.user_profiles
  add column if not exists organization_id text references public.organizations (id),
  add column if not exists role            text not null default 'member';
create index if not exists user_profiles_organization_id_idx on public.user_profiles (organization_id);

comment on column public.user_profiles.id is 'The auth user''s id (auth.uid()).';

-- The calendar of an organization: period n ends at anchor + n months, counted in its own zone, so that 31 January is
-- followed by 28 February and then by 31 March.
create table tollgate.billing_cycles (
  organization_id text        primary key references public.organizations (id),
  anchor          timestamptz not null,
  time_zone       text        not null default 'UTC'
);

alter table public.organizations     enable row level security;
alter table public.organizations     force  row level security;
alter table public.user_profiles     enable row level security;
alter table public.user_profiles     force  row level security;
alter table tollgate.billing_cycles  enable row level security;
alter table tollgate.billing_cycles  force  row level security;

create policy ledger_sees_organizations on public.organizations for all to tollgate_ledger using (true) with check (true);
create policy tenant_reads_organizations on public.organizations for select to tollgate_api, tollgate_worker
  using (id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_organizations on public.organizations for select to tollgate_auditor using (true);
create policy service_edits_organizations on public.organizations for all to service_role using (true) with check (true);
create policy member_reads_organization on public.organizations for select to authenticated
  using (id in (select p.organization_id from public.user_profiles p where p.id = (select auth.uid()::text)));

create policy ledger_sees_profiles on public.user_profiles for select to tollgate_ledger using (true);
create policy tenant_reads_profiles on public.user_profiles for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_profiles on public.user_profiles for select to tollgate_auditor using (true);
create policy service_edits_profiles on public.user_profiles for all to service_role using (true) with check (true);
-- Her own row only: a policy that looked members up in this same table would call itself.
create policy member_reads_own_profile on public.user_profiles for select to authenticated
  using (id = (select auth.uid()::text));

create policy ledger_sees_cycles on tollgate.billing_cycles for all to tollgate_ledger using (true) with check (true);
create policy auditor_reads_cycles on tollgate.billing_cycles for select to tollgate_auditor using (true);

revoke all on public.organizations, public.user_profiles from public, anon, authenticated;
grant select on public.organizations, public.user_profiles to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor, authenticated;
grant select, insert, update, delete on public.organizations, public.user_profiles to service_role;
grant select, insert, update on tollgate.billing_cycles to tollgate_ledger;
grant select on tollgate.billing_cycles to tollgate_auditor;
