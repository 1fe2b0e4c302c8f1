-- One hold as it nearly always is: new, of a type that its plan includes, within what the first grant in burn order has left,
-- nothing due, no sub-limit, nobody suspended, no cap reached. Everything that is written hangs on the insert of the hold in one statement. Anything else
-- answers no row, having locked at most the balance, and tollgate.place_holds does it.
-- Locks: the balance.
-- A second run finds the id taken and leaves it to tollgate.place_holds, which knows a repeat.
create or replace function tollgate.place_lone_hold(
  p_organization text,
  p_hold         text,
  p_feature      text,
  p_amount       bigint,
  p_lifetime     interval,
  p_principal    text
) returns table (token_type text, available bigint, expires_at timestamptz)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_now     timestamptz;
  v_type    text;
  v_falls   boolean;
  v_balance tollgate.balances;
  v_grant   bigint;
  v_left    bigint;
  v_until   timestamptz;
  v_placed  boolean;
begin
  select f.token_type, f.has_fallbacks into v_type, v_falls from tollgate.current_features f where f.feature = p_feature;
  if v_falls is distinct from false or coalesce(p_amount, 0) <= 0 or not (length(p_hold) <= 64 and p_hold ~ '^[A-Za-z0-9_-]+$') then
    return;
  end if;

  perform set_config('tollgate.organizations', p_organization, true);
  select b.* into v_balance
    from tollgate.balances b
   where b.organization_id = p_organization and b.token_type = v_type
     for no key update;
  v_now := greatest(clock_timestamp(), v_balance.settled_through);
  v_until := v_now + p_lifetime;
  if not found or v_balance.next_change_at <= v_now or v_balance.available < p_amount or not v_balance.is_in_plan
     or v_balance.is_suspended or v_balance.open_holds >= v_balance.most_open_holds or v_balance.is_limited or v_balance.burn_order <> 'soonest_expiry' or v_balance.low_threshold is not null
     or v_until is null or v_until <= v_now or v_until > v_now + interval '366 days'
  then
    return;
  end if;

  -- The order is that of tollgate.live_grants.
  select g.id, g.remaining into v_grant, v_left
    from tollgate.grants g
   where g.organization_id = p_organization and g.token_type = v_type and g.remaining > 0
   order by g.priority, g.expires_at nulls last, g.is_paid, g.id
   limit 1;
  if v_left is null or v_left < p_amount then
    return;
  end if;

  with placed as (
    insert into tollgate.holds
           (organization_id, id, token_type, feature, amount, grant_ids, grant_amounts, principal, created_at, expires_at, lifetime_s)
    values (p_organization, p_hold, v_type, p_feature, p_amount, array[v_grant], array[p_amount], p_principal, v_now, v_until,
            ceil(date_part('epoch', p_lifetime)))
    on conflict (organization_id, id) do nothing
    returning true as is_new
  ), burnt as (
    update tollgate.grants g
       set remaining = g.remaining - p_amount
      from placed
     where g.organization_id = p_organization and g.id = v_grant
  ), moved as (
    update tollgate.balances b
       set available       = b.available - p_amount,
           held            = b.held + p_amount,
           open_holds      = b.open_holds + 1,
           last_entry      = b.last_entry + 1,
           settled_through = v_now,
           next_change_at  = least(b.next_change_at, v_until)
      from placed
     where b.organization_id = p_organization and b.token_type = v_type
  ), booked as (
    insert into tollgate.ledger_blocks
           (organization_id, token_type, first_entry, last_entry, available_before, held_before, owed_before,
            kinds, amounts, hold_ids, actors, effective_at)
    select p_organization, v_type, v_balance.last_entry + 1, v_balance.last_entry + 1, v_balance.available, v_balance.held, v_balance.owed,
           'h', array[p_amount], array[p_hold], array[p_principal], v_now
      from placed
  )
  select p.is_new into v_placed from placed p;
  if v_placed then
    token_type := v_type; available := v_balance.available - p_amount; expires_at := v_until;
    return next;
  end if;
end
$$;
