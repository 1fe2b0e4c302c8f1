-- Who owns tokens and who may use them. These two tables often exist already in the app's database: then they stay as
-- they are and only gain what is missing.

-- What cannot be built upon is said before anything is made. The whole migration is one transaction.
do $$
declare
  found record;
begin
  for found in
    select a.attrelid::regclass as relation, a.attname as column_name, format_type(a.atttypid, null) as type
      from pg_catalog.pg_attribute a
     where not a.attisdropped and format_type(a.atttypid, null) not in ('text', 'character varying')
       and (a.attrelid, a.attname) in ((to_regclass('public.organizations'), 'id'), (to_regclass('public.user_profiles'), 'organization_id'))
  loop
    raise exception 'tollgate: %.% is %, and ids of organizations are text here; change it first: alter table % alter column % type text using %::text (foreign keys to it with it)',
      found.relation, found.column_name, found.type, found.relation, found.column_name, found.column_name
      using errcode = 'datatype_mismatch';
  end loop;

  -- Ids stand in lists (tollgate.organizations), in workflow ids and in addresses: no commas, no blanks.
  if to_regclass('public.organizations') is not null then
    for found in
      execute $ids$ select o.id from public.organizations o where o.id !~ '^[A-Za-z0-9_-]{1,64}$' order by o.id limit 1 $ids$
    loop
      raise exception 'tollgate: organizations has the id "%"; ids are 1 to 64 of the characters A-Z a-z 0-9 _ - here; rename it, and those like it, first: update organizations set id = … where id = %',
        found.id, quote_literal(found.id)
        using errcode = 'check_violation';
    end loop;
  end if;

  for found in
    select c.oid::regclass as relation
      from pg_catalog.pg_class c
     where c.oid in (to_regclass('public.ai_tokens'), to_regclass('public.ai_token_usage_log')) and c.relkind in ('r', 'p')
  loop
    raise exception 'tollgate: there is a table % already, of an earlier token system; rename it, migrate, then take its balances over (docs/guides/TOKEN_SYSTEM_DEPLOYMENT.md): alter table % rename to %_before',
      found.relation, found.relation, found.relation
      using errcode = 'duplicate_table';
  end loop;
end
$$;

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

do $$
begin
  if not exists (select from pg_catalog.pg_constraint c
                  where c.conrelid = 'public.organizations'::regclass and c.conname = 'organizations_id_is_an_id') then
    alter table public.organizations add constraint organizations_id_is_an_id check (id ~ '^[A-Za-z0-9_-]{1,64}$');
  end if;
end
$$;

-- Supabase's apps keep the auth user's uuid there, and it is compared as text everywhere. For a text column the cast is
-- nothing and the primary key serves; a uuid, or a number, needs an index of its own. Unique, because
-- else, before the first analyze, a member was looked up among all of her organization: 2,001 rows read instead of 1.
do $$
begin
  if exists (select from pg_catalog.pg_attribute a
              where a.attrelid = 'public.user_profiles'::regclass and a.attname = 'id' and a.atttypid not in ('text'::regtype, 'varchar'::regtype)) then
    create unique index if not exists user_profiles_id_text_idx on public.user_profiles ((id::text));
  end if;
end
$$;

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
  using (id in (select p.organization_id from public.user_profiles p where p.id::text = (select auth.uid()::text)));

create policy ledger_sees_profiles on public.user_profiles for select to tollgate_ledger using (true);
create policy tenant_reads_profiles on public.user_profiles for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_profiles on public.user_profiles for select to tollgate_auditor using (true);
create policy service_edits_profiles on public.user_profiles for all to service_role using (true) with check (true);
-- Her own row only: a policy that looked members up in this same table would call itself.
create policy member_reads_own_profile on public.user_profiles for select to authenticated
  using (id::text = (select auth.uid()::text));

create policy ledger_sees_cycles on tollgate.billing_cycles for all to tollgate_ledger using (true) with check (true);
create policy auditor_reads_cycles on tollgate.billing_cycles for select to tollgate_auditor using (true);

-- From each by name: Supabase's default privileges give everything to them, and with it more than rows: a trigger of
-- theirs would run with the rights of whoever writes the row.
revoke all on public.organizations, public.user_profiles from public, anon, authenticated, service_role;
grant select on public.organizations, public.user_profiles to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor, authenticated;
grant select, insert, update, delete on public.organizations, public.user_profiles to service_role;
grant select, insert, update on tollgate.billing_cycles to tollgate_ledger;
grant select on tollgate.billing_cycles to tollgate_auditor;
