-- Raises a balance by hand: a grant without expiry, because what somebody gave on purpose must not vanish with the month.
-- Answers the adjustment's number.
-- Locks: none; the caller holds the balance row. Each run is one adjustment; the caller decides that it is wanted.
create or replace function tollgate.adjust_up(
  p_organization text, p_token_type text, p_amount bigint, p_actor text, p_reason text, p_reverses bigint, p_at timestamptz
) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_grant      bigint;
  v_adjustment bigint;
begin
  insert into tollgate.adjustments (organization_id, token_type, amount, reason, actor, reverses, created_at)
  values (p_organization, p_token_type, p_amount, p_reason, p_actor, p_reverses, p_at)
  returning id into v_adjustment;
  insert into tollgate.grants (organization_id, token_type, source, amount, remaining, created_at)
  values (p_organization, p_token_type, 'adjustment', p_amount, p_amount, p_at)
  returning id into v_grant;
  perform tollgate.post_movements(array[
    row(p_organization, p_token_type, 'adjustment', 'adjusted', 'available', p_amount, null, v_grant, p_actor, p_at, null, 0)::tollgate.movement]);
  return v_adjustment;
end
$$;
