-- Puts tokens that a hold took back into the grants they came from, all but the first p_consumed of them (a capture
-- charges in burn order). A grant of a plan that has expired meanwhile stays expired: its part is answered as an expiry
-- for the caller to post. A paid or given one comes back to life for its days of grace. What ends at the very instant of
-- the return is not over yet: at one instant tokens come back first, and grants expire after that.
-- Locks: none; the caller holds the balance row. The caller's guard is the hold's state.
create or replace function tollgate.return_to_grants(
  p_organization  text,
  p_token_type    text,
  p_hold          text,
  p_grant_ids     bigint[],
  p_grant_amounts bigint[],
  p_consumed      bigint,
  p_actor         text,
  p_at            timestamptz
) returns tollgate.movement[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_movements tollgate.movement[];
begin
  with taken as (
    select t.grant_id, t.amount, t.position,
           greatest(0, least(t.amount, sum(t.amount) over (order by t.position rows unbounded preceding) - p_consumed)) as returned
      from unnest(p_grant_ids, p_grant_amounts) with ordinality as t (grant_id, amount, position)
  ), returning_parts as (
    select t.grant_id, t.returned, t.position,
           g.expires_at < p_at and g.source in ('allowance', 'upgrade') as stays_expired,
           g.expires_at < p_at as is_over
      from taken t
      join tollgate.grants g on g.organization_id = p_organization and g.id = t.grant_id
     where t.returned > 0
  ), returned as (
    update tollgate.grants g
       set remaining  = g.remaining + case when r.stays_expired then 0 else r.returned end,
           expired    = g.expired   + case when r.stays_expired then r.returned else 0 end,
           expires_at = case when r.is_over and not r.stays_expired then p_at + tollgate.grace() else g.expires_at end
      from returning_parts r
     where g.organization_id = p_organization and g.id = r.grant_id
  )
  select array_agg(
           row(p_organization, p_token_type, 'expire', 'available', 'expired', r.returned, p_hold, r.grant_id, p_actor, p_at)::tollgate.movement
           order by r.position)
    into v_movements
    from returning_parts r
   where r.stays_expired;
  return coalesce(v_movements, '{}');
end
$$;
