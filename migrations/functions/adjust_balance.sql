-- Raises or lowers a balance by hand, with who and why. For operators; the owner of the database may call it.
-- Outcomes: adjusted · organization_unknown · token_type_unknown · amount_invalid · reason_missing · key_reused · tokens_insufficient.
-- Locks: the idempotency record, then the balance.
-- A second run under the same key answers the adjustment that is recorded.
create or replace function tollgate.adjust_balance(
  p_organization text, p_token_type text, p_amount bigint, p_actor text, p_reason text, p_key text
) returns table (outcome text, is_repeat boolean, adjustment bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  c_largest constant bigint := 1000000000000000;
  v_claim   record;
  v_now     timestamptz;
begin
  is_repeat := false;
  outcome := case
    when not exists (select from public.organizations o where o.id = p_organization) then 'organization_unknown'
    when not exists (select from tollgate.current_allowances a where a.token_type = p_token_type) then 'token_type_unknown'
    when p_amount is null or p_amount = 0 or abs(p_amount) > c_largest then 'amount_invalid'
    when coalesce(p_reason, '') !~ '\S' or length(p_reason) > 500 or coalesce(p_actor, '') !~ '\S' then 'reason_missing'
  end;
  if outcome is not null then
    return next;
    return;
  end if;
  select c.* into strict v_claim
    from tollgate.claim_key(p_organization, p_key, sha256(convert_to(jsonb_build_array('adjust', p_token_type, p_amount, p_actor, p_reason)::text, 'UTF8')), null) c;
  if v_claim.outcome <> 'claimed' then
    is_repeat := v_claim.outcome = 'answered';
    outcome := case when is_repeat then 'adjusted' else 'key_reused' end;
    adjustment := (v_claim.answer ->> 'adjustment')::bigint; available := (v_claim.answer ->> 'available')::bigint;
    return next;
    return;
  end if;

  v_now := tollgate.lock_balances(array[p_organization], array[p_token_type]);
  select b.available into strict available from tollgate.balances b where b.organization_id = p_organization and b.token_type = p_token_type;
  if available + p_amount < 0 or available + p_amount > c_largest then
    delete from tollgate.idempotency_records r where r.organization_id = p_organization and r.key = p_key;
    outcome := case when p_amount < 0 then 'tokens_insufficient' else 'amount_invalid' end;
    return next;
    return;
  end if;
  adjustment := case when p_amount > 0
    then tollgate.adjust_up(p_organization, p_token_type, p_amount, p_actor, p_reason, null, v_now)
    else tollgate.adjust_down(p_organization, p_token_type, - p_amount, p_actor, p_reason, null, v_now) end;
  outcome := 'adjusted'; available := available + p_amount;
  update tollgate.idempotency_records r
     set answer = jsonb_build_object('adjustment', adjustment, 'available', available)
   where r.organization_id = p_organization and r.key = p_key;
  return next;
end
$$;
