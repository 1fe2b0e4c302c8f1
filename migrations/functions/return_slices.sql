-- Puts tokens that holds took back into the grants they came from: of each hold the slice from p_from up to p_to of what it
-- took, in the order taken. What is not charged is the slice behind its charges; a refund gives back a slice of a charge.
-- A grant of a plan that has expired meanwhile stays expired: its part is answered as an expiry for the caller to post. A
-- paid or given one comes back to life for its days of grace. What ends at the very instant of the return is not over yet:
-- at one instant tokens come back first, and grants expire after that.
-- It may sum up by grant: no grant ends between the instants given (p_ats differ for lapses only, and their caller's step is
-- that short), so one that is over was so before the first of them, and the grace that this one opens outlasts the others.
-- What comes back no longer counts in the sub-limits that the hold counted in.
-- Locks: none; the caller holds the balance rows. The caller's guard is the hold's state, or the charge's refunded amount.
create or replace function tollgate.return_slices(
  p_organizations text[],
  p_hold_ids      text[],
  p_from          bigint[],
  p_to            bigint[],
  p_actors        text[],
  p_ats           timestamptz[]
) returns tollgate.movement[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_movements tollgate.movement[];
begin
  with parts as (
    select u.organization_id, u.hold_id, u.actor, u.at, u.position, h.token_type, h.limit_counters, t.grant_id, t.rank,
           least(u.to_amount, t.reaches) - greatest(u.from_amount, t.reaches - t.amount) as amount,
           coalesce(g.expires_at < u.at, false) as is_over,
           g.source in ('allowance', 'upgrade') as is_of_plan
      from unnest(p_organizations, p_hold_ids, p_from, p_to, p_actors, p_ats)
             with ordinality as u (organization_id, hold_id, from_amount, to_amount, actor, at, position)
     cross join lateral (select l.token_type, l.grant_ids, l.grant_amounts, l.limit_counters from tollgate.holds l
                          where l.organization_id = u.organization_id and l.id = u.hold_id offset 0) h
     cross join lateral (
       select p.grant_id, p.amount, p.rank, sum(p.amount) over (order by p.rank rows unbounded preceding)::bigint as reaches
         from unnest(h.grant_ids, h.grant_amounts) with ordinality as p (grant_id, amount, rank)) t
      join tollgate.grants g on g.organization_id = u.organization_id and g.id = t.grant_id
     where t.reaches > u.from_amount and t.reaches - t.amount < u.to_amount
  ), returned as (
    update tollgate.grants g
       set remaining  = g.remaining + case when r.is_over and r.is_of_plan then 0 else r.amount end,
           expired    = g.expired   + case when r.is_over and r.is_of_plan then r.amount else 0 end,
           expires_at = case when r.is_over and not r.is_of_plan then r.first_at + tollgate.grace() else g.expires_at end
      from (select p.organization_id, p.grant_id, p.is_over, p.is_of_plan, sum(p.amount)::bigint as amount, min(p.at) as first_at
              from parts p
             group by p.organization_id, p.grant_id, p.is_over, p.is_of_plan) r
     where g.organization_id = r.organization_id and g.id = r.grant_id
    returning g.organization_id, g.token_type, g.expires_at, g.remaining
  ), dated as (
    -- A grant that was empty, or that came back to life, has an end that the row must not miss.
    update tollgate.balances b
       set next_change_at = e.expires_at
      from (select r.organization_id, r.token_type, min(r.expires_at) as expires_at
              from returned r
             where r.remaining > 0
             group by r.organization_id, r.token_type) e
     where b.organization_id = e.organization_id and b.token_type = e.token_type and b.next_change_at > e.expires_at
  ), uncounted as (
    update tollgate.limit_counters c
       set used = c.used - u.amount
      from (select p.organization_id, k.id, sum(p.amount) as amount
              from parts p
             cross join unnest(p.limit_counters) as k (id)
             group by p.organization_id, k.id) u
     where c.organization_id = u.organization_id and c.id = u.id
  )
  select array_agg(row(p.organization_id, p.token_type, 'expire', 'available', 'expired', p.amount, p.hold_id, p.grant_id, p.actor, p.at, null, 0)::tollgate.movement
                   order by p.position, p.rank)
    into v_movements
    from parts p
   where p.is_over and p.is_of_plan;
  return coalesce(v_movements, '{}');
end
$$;
