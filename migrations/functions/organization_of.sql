-- The organization of a user, by his profile: one indexed read. Null for somebody without one. Reads only.
-- Called by versions before memberships_of only.
create or replace function tollgate.organization_of(p_user text) returns text
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select p.organization_id from public.user_profiles p where p.id::text = p_user
$$;
grant execute on function tollgate.organization_of(text) to tollgate_api;
