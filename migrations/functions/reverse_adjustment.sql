-- Undoes an adjustment by the opposite one, which names it: nothing is edited. For operators; the owner may call it.
-- Outcomes: reversed · adjustment_unknown · reason_missing · tokens_insufficient.
-- Locks: the balance. A second run finds the reversal (one for each adjustment, by constraint) and answers it.
create or replace function tollgate.reverse_adjustment(p_organization text, p_adjustment bigint, p_actor text, p_reason text)
  returns table (outcome text, is_repeat boolean, adjustment bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_first tollgate.adjustments;
  v_now   timestamptz;
begin
  is_repeat := false;
  select a.* into v_first from tollgate.adjustments a where a.organization_id = p_organization and a.id = p_adjustment;
  if not found then
    outcome := 'adjustment_unknown';
    return next;
    return;
  elsif coalesce(p_reason, '') !~ '\S' or length(p_reason) > 500 or coalesce(p_actor, '') !~ '\S' then
    outcome := 'reason_missing';
    return next;
    return;
  end if;
  v_now := tollgate.lock_balances(array[p_organization], array[v_first.token_type]);
  select b.available into strict available from tollgate.balances b where b.organization_id = p_organization and b.token_type = v_first.token_type;
  select a.id into adjustment from tollgate.adjustments a where a.organization_id = p_organization and a.reverses = p_adjustment;
  if found then
    outcome := 'reversed'; is_repeat := true;
  elsif available - v_first.amount < 0 then
    outcome := 'tokens_insufficient';
  else
    adjustment := case when v_first.amount < 0
      then tollgate.adjust_up(p_organization, v_first.token_type, - v_first.amount, p_actor, p_reason, p_adjustment, v_now)
      else tollgate.adjust_down(p_organization, v_first.token_type, v_first.amount, p_actor, p_reason, p_adjustment, v_now) end;
    outcome := 'reversed'; available := available - v_first.amount;
  end if;
  return next;
end
$$;
