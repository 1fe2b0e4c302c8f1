-- Whether an organization is 'live' or 'test'; it never changes. One that nobody knows is 'live'. Reads only.
create or replace function tollgate.mode_of(p_organization text) returns text
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select case when exists (select from tollgate.test_organizations t where t.organization_id = p_organization) then 'test' else 'live' end
$$;
grant execute on function tollgate.mode_of(text) to tollgate_api;
