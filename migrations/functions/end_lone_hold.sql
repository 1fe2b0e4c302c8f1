-- One hold that ends as it nearly always does: open, charged whole or within what it holds by a single capture, or released
-- untouched. Anything else answers no row, having locked at most the balance, and tollgate.end_holds does it.
-- Locks: the balance.
-- A second run finds the hold ended and leaves it to tollgate.end_holds, which knows a repeat.
create or replace function tollgate.end_lone_hold(p_organization text, p_hold text, p_verb text, p_amount bigint, p_actor text)
  returns table (captured bigint, returned bigint)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_now       timestamptz;
  v_hold      tollgate.holds;
  v_settled   timestamptz;
  v_change    timestamptz;
  v_charge    bigint;
  v_movements tollgate.movement[] := '{}';
begin
  perform set_config('tollgate.organizations', p_organization, true);
  select b.settled_through, b.next_change_at into v_settled, v_change
    from tollgate.balances b
   where b.organization_id = p_organization
     and b.token_type = (select h.token_type from tollgate.holds h where h.organization_id = p_organization and h.id = p_hold)
     for no key update;
  v_now := greatest(clock_timestamp(), v_settled);
  if not found or v_change <= v_now then
    return;
  end if;
  select h.* into v_hold from tollgate.holds h where h.organization_id = p_organization and h.id = p_hold;
  v_charge := case when p_verb = 'capture' then coalesce(p_amount, v_hold.amount) else 0 end;
  if not found or v_hold.state <> 'held' or v_hold.captured > 0 or v_hold.job_id is not null
     or v_charge > v_hold.amount or v_charge < 0 or (v_charge = 0 and p_verb = 'capture')
  then
    return;
  end if;

  update tollgate.holds h
     set state = case when v_charge > 0 then 'captured' else 'released' end, captured = v_charge, ended_at = v_now
   where h.organization_id = p_organization and h.id = p_hold and h.state = 'held';
  if v_charge > 0 then
    insert into public.ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, created_at, token_type, charge_id, principal)
    values (p_organization, case when left(v_hold.principal, 5) = 'user:' then substr(v_hold.principal, 6) end, v_hold.feature, v_charge,
            v_now, v_hold.token_type, p_hold || '.1', v_hold.principal);
    v_movements := array[
      row(p_organization, v_hold.token_type, 'capture', 'held', 'consumed', v_charge, p_hold, null, p_actor, v_now, null,
          case when v_charge = v_hold.amount then -1 else 0 end)::tollgate.movement];
  end if;
  if v_charge < v_hold.amount then
    v_movements := v_movements
      || row(p_organization, v_hold.token_type, 'release', 'held', 'available', v_hold.amount - v_charge, p_hold, null, p_actor, v_now, null, -1)::tollgate.movement
      || tollgate.return_slices(array[p_organization], array[p_hold], array[v_charge], array[v_hold.amount], array[p_actor], array[v_now]);
  end if;
  perform tollgate.post_movements(v_movements);
  captured := v_charge; returned := v_hold.amount - v_charge;
  return next;
end
$$;
