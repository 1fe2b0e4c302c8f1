-- The organizations of users and their roles there, by their profiles, for arrays: an indexed read each. No row for somebody
-- without one. Reads only; locks nothing. In plpgsql because it keeps its plan.
create or replace function tollgate.memberships_of(p_users text[])
  returns table (ordinal integer, organization_id text, role text)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  return query
    select u.position::integer, p.organization_id, case p.role when 'admin' then 'admin' else 'member' end
      from unnest(p_users) with ordinality as u (id, position)
     cross join lateral (
       select m.organization_id::text as organization_id, m.role::text as role from public.user_profiles m where m.id::text = u.id offset 0) p;
end
$$;
grant execute on function tollgate.memberships_of(text[]) to tollgate_api;
