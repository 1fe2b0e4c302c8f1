-- Roles and schemas. A role belongs to the whole cluster, so each is made only where it is missing; one that is already
-- there (Supabase brings anon, authenticated and service_role) is left alone.
--
-- The owner (whoever runs the migrations) owns the tables. tollgate_ledger owns the money functions and nothing else;
-- nobody logs in as it. None of these roles bypasses row-level security, the owner included: it is forced below.

do $$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('tollgate_ledger',  'nologin'),
      ('tollgate_api',     'login'),
      ('tollgate_worker',  'login'),
      ('tollgate_auditor', 'login'),
      ('anon',             'nologin'),
      ('authenticated',    'nologin'),
      ('service_role',     'nologin')
    ) as roles (name, may_log_in)
  loop
    if not exists (select from pg_catalog.pg_roles where rolname = wanted.name) then
      begin
        execute format('create role %I %s noinherit', wanted.name, wanted.may_log_in);
      exception when duplicate_object or unique_violation then
        -- Another database of this cluster is being migrated at this moment and made it first.
        null;
      end;
    end if;
  end loop;
end
$$;

create schema if not exists tollgate;
create schema if not exists auth;

comment on schema tollgate is 'Internals of Tollgate. Exposed to nobody: apps use the API, SQL users the tables and the view in public.';

revoke all on schema tollgate from public;
grant usage on schema tollgate to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor;
grant usage on schema public to tollgate_api, tollgate_worker;
grant usage on schema auth, public to tollgate_ledger, tollgate_auditor, anon, authenticated, service_role;

-- Supabase defines auth.uid() as the signed-in user's id out of the request's claims. Where there is no Supabase, the
-- policies still need it. After a transaction a local setting reads '', not null: hence nullif.
do $$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns text
      language sql stable
      set search_path = pg_catalog, pg_temp
    as $uid$
      select nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
    $uid$;
    grant execute on function auth.uid() to anon, authenticated, service_role;
  end if;
end
$$;

-- What this transaction may touch. A money function sets it after it has checked the caller; the API sets it to the
-- organization of the credential before it reads. No tenant, no rows.
create function tollgate.current_organizations() returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select string_to_array(nullif(current_setting('tollgate.organizations', true), ''), ',')
$$;

grant execute on function tollgate.current_organizations() to tollgate_api, tollgate_worker;
