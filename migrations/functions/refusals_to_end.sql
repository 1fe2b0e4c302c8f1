-- Who may end holds: tollgate.refusals_for, and of users who are no admins only who placed the hold, else 'hold_unknown'. Otherwise
-- any member could give back, with his own session, what the app's server holds for work that it is about to deliver and charge.
-- A hold keeps its principal, so it may be read before the balance is locked. Reads only; locks nothing.
create or replace function tollgate.refusals_to_end(p_principals text[], p_organizations text[], p_hold_ids text[]) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_refusals text[] := tollgate.refusals_for(p_principals, p_organizations);
begin
  -- Keys are not asked for more.
  if not exists (select from unnest(p_principals) as u (principal) where left(u.principal, 5) = 'user:') then
    return v_refusals;
  end if;
  return (
    select array_agg(case when u.refusal is null and left(u.principal, 5) = 'user:' and h.principal <> u.principal
                               and not tollgate.may_administer(u.principal, u.organization_id)
                          then 'hold_unknown' else u.refusal end order by u.position)
      from unnest(p_principals, p_organizations, p_hold_ids, v_refusals) with ordinality as u (principal, organization_id, hold_id, refusal, position)
      left join lateral (select l.principal from tollgate.holds l
                          where l.organization_id = u.organization_id and l.id = u.hold_id and u.refusal is null offset 0) h on true);
end
$$;
