-- Lowers a balance by hand, taking from its grants in burn order. The caller has checked that it suffices. Answers the
-- adjustment's number.
-- Locks: none; the caller holds the balance row. Each run is one adjustment; the caller decides that it is wanted.
create or replace function tollgate.adjust_down(
  p_organization text, p_token_type text, p_amount bigint, p_actor text, p_reason text, p_reverses bigint, p_at timestamptz
) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_movements  tollgate.movement[];
  v_adjustment bigint;
begin
  insert into tollgate.adjustments (organization_id, token_type, amount, reason, actor, reverses, created_at)
  values (p_organization, p_token_type, - p_amount, p_reason, p_actor, p_reverses, p_at)
  returning id into v_adjustment;

  with burning as (
    select u.id, u.remaining, u.position,
           coalesce(sum(u.remaining) over (order by u.position rows between unbounded preceding and 1 preceding), 0) as before
      from tollgate.balances b
     cross join tollgate.live_grants(array[p_organization], array[p_token_type], array[b.burn_order]) l
     cross join unnest(l.grant_ids, l.remaining) with ordinality as u (id, remaining, position)
     where b.organization_id = p_organization and b.token_type = p_token_type
  ), taken as (
    select b.id, b.before, least(b.remaining, p_amount - b.before)::bigint as amount
      from burning b
     where b.before < p_amount
  ), reduced as (
    update tollgate.grants g
       set remaining = g.remaining - t.amount
      from taken t
     where g.organization_id = p_organization and g.id = t.id
  )
  select array_agg(row(p_organization, p_token_type, 'adjustment', 'available', 'adjusted', t.amount, null, t.id, p_actor, p_at, null, 0)::tollgate.movement order by t.before)
    into v_movements
    from taken t;
  perform tollgate.post_movements(v_movements);
  return v_adjustment;
end
$$;
