-- Books a grant: an amount of tokens with its source. What the balance owes is paid out of it first.
-- Locks: none; the caller holds the balance row.
-- A second run would grant twice: the caller's guard is a constraint (one allowance per period) or its own record.
create or replace function tollgate.add_grant(
  p_organization text,
  p_token_type   text,
  p_source       text,
  p_amount       bigint,
  p_priority     integer,
  p_is_paid      boolean,
  p_period_start timestamptz,
  p_expires_at   timestamptz,
  p_actor        text,
  p_effective_at timestamptz,
  p_unit_price_micros bigint default null,
  p_currency          text   default null
) returns bigint
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_grant bigint;
  v_paid  bigint;
begin
  select least(b.owed, p_amount) into strict v_paid
    from tollgate.balances b
   where b.organization_id = p_organization and b.token_type = p_token_type;

  insert into tollgate.grants (organization_id, token_type, source, priority, is_paid, amount, remaining, period_start, expires_at, created_at, unit_price_micros, currency)
  values (p_organization, p_token_type, p_source, p_priority, p_is_paid, p_amount, p_amount - v_paid, p_period_start, p_expires_at, p_effective_at, p_unit_price_micros, p_currency)
  returning id into v_grant;

  -- Oldest debt first: each is reduced by what the older ones left.
  with oldest as (
    select d.organization_id, d.id,
           least(d.open_amount, greatest(0, v_paid - coalesce(sum(d.open_amount) over (order by d.id rows between unbounded preceding and 1 preceding), 0))) as paid
      from tollgate.debts d
     where d.organization_id = p_organization and d.token_type = p_token_type and d.open_amount > 0
  )
  update tollgate.debts d
     set open_amount = d.open_amount - o.paid
    from oldest o
   where d.organization_id = o.organization_id and d.id = o.id and o.paid > 0;

  perform tollgate.post_movements(
    array[row(p_organization, p_token_type, 'grant', 'outside', 'available', p_amount, null, v_grant, p_actor, p_effective_at, p_expires_at, 0)::tollgate.movement]
    || case when v_paid > 0
         then array[row(p_organization, p_token_type, 'debt_paid', 'available', 'debt', v_paid, null, v_grant, p_actor, p_effective_at, null, 0)::tollgate.movement]
         else array[]::tollgate.movement[]
       end);
  return v_grant;
end
$$;
