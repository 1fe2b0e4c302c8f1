-- The organization of a user and his role there, by his profile: one indexed read. No row for somebody without one. Reads only.
create or replace function tollgate.membership_of(p_user text)
  returns table (organization_id text, role text)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select p.organization_id, case p.role::text when 'admin' then 'admin' else 'member' end from public.user_profiles p where p.id::text = p_user
$$;
grant execute on function tollgate.membership_of(text) to tollgate_api;
