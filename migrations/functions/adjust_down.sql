-- Lowers a balance by hand, taking from its grants in burn order. The caller has checked that it suffices.
-- Locks: none; the caller holds the balance row. Each run is one adjustment; the caller decides that it is wanted.
create or replace function tollgate.adjust_down(p_organization text, p_token_type text, p_amount bigint, p_actor text, p_at timestamptz)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_movements tollgate.movement[];
begin
  with burning as (
    select g.id, g.remaining,
           coalesce(sum(g.remaining) over (order by g.priority, g.expires_at nulls last, g.is_paid, g.id rows between unbounded preceding and 1 preceding), 0) as before
      from tollgate.grants g
     where g.organization_id = p_organization and g.token_type = p_token_type and g.remaining > 0
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
  select array_agg(row(p_organization, p_token_type, 'adjustment', 'available', 'adjusted', t.amount, null, t.id, p_actor, p_at)::tollgate.movement order by t.before)
    into v_movements
    from taken t;
  perform tollgate.post_movements(v_movements);
end
$$;
