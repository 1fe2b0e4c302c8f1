-- Ends the open holds of one balance whose expiry lies in (p_after, p_until], each at its own instant.
-- The lower bound keeps the look-up short: holds that ended long ago keep their expiry, and every open one that expired
-- up to p_after has lapsed already.
-- One statement for all, because an app that dies can leave very many open at once. It returns tokens by the rule of
-- tollgate.return_to_grants, and may sum them up by grant: the caller's step is short enough that no grant ends within it,
-- so one that is over was so before the first of these lapses, and the grace that this one opens outlasts the others.
-- Locks: none; the caller holds the balance row. A second run finds no open hold in that range.
create or replace function tollgate.lapse_holds(p_organization text, p_token_type text, p_after timestamptz, p_until timestamptz)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_movements tollgate.movement[];
begin
  with lapsed as (
    update tollgate.holds h
       set state = 'lapsed', ended_at = h.expires_at
     where h.token_type = p_token_type and h.organization_id = p_organization
       and h.expires_at > p_after and h.expires_at <= p_until
       and h.state = 'held'
    returning h.id, h.amount, h.grant_ids, h.grant_amounts, h.expires_at
  ), parts as (
    select l.id as hold_id, l.expires_at as lapsed_at, t.grant_id, t.amount, t.position,
           coalesce(g.expires_at < l.expires_at, false) as is_over,
           g.source in ('allowance', 'upgrade') as is_of_plan
      from lapsed l
     cross join lateral unnest(l.grant_ids, l.grant_amounts) with ordinality as t (grant_id, amount, position)
      join tollgate.grants g on g.organization_id = p_organization and g.id = t.grant_id
  ), returned as (
    update tollgate.grants g
       set remaining  = g.remaining + case when r.is_over and r.is_of_plan then 0 else r.amount end,
           expired    = g.expired   + case when r.is_over and r.is_of_plan then r.amount else 0 end,
           expires_at = case when r.is_over and not r.is_of_plan then r.first_at + tollgate.grace() else g.expires_at end
      from (select p.grant_id, p.is_over, p.is_of_plan, sum(p.amount) as amount, min(p.lapsed_at) as first_at
              from parts p
             group by p.grant_id, p.is_over, p.is_of_plan) r
     where g.organization_id = p_organization and g.id = r.grant_id
  ), moved as (
    select 'lapse' as kind, 'held' as from_account, 'available' as to_account,
           l.amount, l.id as hold_id, null::bigint as grant_id, l.expires_at as lapsed_at, 0 as position
      from lapsed l
    union all
    select 'expire', 'available', 'expired', p.amount, p.hold_id, p.grant_id, p.lapsed_at, p.position
      from parts p
     where p.is_over and p.is_of_plan
  )
  select array_agg(
           row(p_organization, p_token_type, m.kind, m.from_account, m.to_account, m.amount, m.hold_id, m.grant_id, 'time', m.lapsed_at)::tollgate.movement
           order by m.lapsed_at, m.hold_id, m.position)
    into v_movements
    from moved m;
  perform tollgate.post_movements(v_movements);
end
$$;
