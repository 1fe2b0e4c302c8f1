-- Gives back a charge, or part of it, to the grants that it burnt, last burnt first. p_amount null: all that is left of it.
-- A user must be an admin: any member could else have work delivered, give its charge back to his organization, and have more.
-- Outcomes: refunded · not_a_member · not_an_admin · key_reused · charge_unknown · amount_invalid · amount_above_charge. A charge that was given
-- back whole already answers 'refunded' with is_repeat to whoever asks for all of it again. A refusal leaves no trace: the
-- key stays free.
-- Locks: the idempotency record, then the balance.
-- A second run with the same key answers what is recorded; that no more than the charge comes back is a constraint.
create or replace function tollgate.refund_charge(
  p_organization text,
  p_principal    text,
  p_charge       text,
  p_amount       bigint,
  p_reason       text,
  p_key          text,
  p_request_hash bytea
) returns table (outcome text, is_repeat boolean, token_type text, refunded bigint, refunded_in_all bigint, charged bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_claim    record;
  v_hold_id  text := substring(p_charge from '^(.+)[.][1-9][0-9]{0,8}$');
  v_number   integer := substring(p_charge from '^.+[.]([1-9][0-9]{0,8})$')::integer;
  v_hold     tollgate.holds;
  v_now      timestamptz;
  v_starts   bigint;
  v_charged  bigint;
  v_at       timestamptz;
  v_before   bigint;
  v_amount   bigint;
begin
  is_repeat := false;
  outcome := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  if outcome is null and left(p_principal, 5) = 'user:' and not tollgate.may_administer(p_principal, p_organization) then
    outcome := 'not_an_admin';
  end if;
  if outcome is not null then
    return next;
    return;
  end if;
  select c.* into strict v_claim from tollgate.claim_key(p_organization, p_key, p_request_hash, null) c;
  if v_claim.outcome = 'key_reused' then
    outcome := 'key_reused';
    return next;
    return;
  elsif v_claim.outcome = 'answered' then
    outcome := 'refunded'; is_repeat := true; token_type := v_claim.answer ->> 'tokenType';
    refunded := (v_claim.answer ->> 'refunded')::bigint; refunded_in_all := (v_claim.answer ->> 'refundedInAll')::bigint;
    charged := (v_claim.answer ->> 'charged')::bigint; available := (v_claim.answer ->> 'available')::bigint;
    return next;
    return;
  end if;

  select h.* into v_hold from tollgate.holds h where h.organization_id = p_organization and h.id = v_hold_id;
  if found then
    v_now := tollgate.lock_balances(array[p_organization], array[v_hold.token_type]);
    select h.* into strict v_hold from tollgate.holds h where h.organization_id = p_organization and h.id = v_hold_id;
    select c.starts, c.amount, c.made_at into v_starts, v_charged, v_at
      from tollgate.charges c
     where c.organization_id = p_organization and c.hold_id = v_hold_id and c.number = v_number;
    select coalesce(max(r.refunded), 0) into v_before
      from tollgate.refunded_charges r
     where r.organization_id = p_organization and r.hold_id = v_hold_id and r.charge_number = v_number;
    select b.available into strict available from tollgate.balances b where b.organization_id = p_organization and b.token_type = v_hold.token_type;
    v_amount := coalesce(p_amount, v_charged - v_before);
    token_type := v_hold.token_type; charged := v_charged; refunded := 0; refunded_in_all := v_before;
  end if;

  outcome := case
    when v_hold.id is null or coalesce(v_charged, 0) <= 0 then 'charge_unknown'
    when p_amount <= 0 then 'amount_invalid'
    when p_amount is null and v_before = v_charged then 'refunded'
    when v_before + v_amount > v_charged then 'amount_above_charge'
  end;
  if outcome is not null then
    is_repeat := outcome = 'refunded';
    refunded := case outcome when 'refunded' then v_before else 0 end;
    delete from tollgate.idempotency_records r where r.organization_id = p_organization and r.key = p_key;
    return next;
    return;
  end if;

  insert into tollgate.refunded_charges as r (organization_id, hold_id, charge_number, charged, refunded)
  values (p_organization, v_hold_id, v_number, v_charged, v_amount)
  on conflict (organization_id, hold_id, charge_number) do update set refunded = r.refunded + excluded.refunded;
  insert into tollgate.refunds (organization_id, hold_id, charge_number, amount, reason, actor, created_at)
  values (p_organization, v_hold_id, v_number, v_amount, p_reason, p_principal, v_now);
  insert into public.ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, metadata, created_at, token_type, charge_id, principal)
  values (p_organization, case when left(v_hold.principal, 5) = 'user:' then substr(v_hold.principal, 6) end, v_hold.feature, - v_amount, '{}', v_now,
          v_hold.token_type, p_charge, v_hold.principal);
  perform tollgate.post_movements(
    array[row(p_organization, v_hold.token_type, 'refund', 'consumed', 'available', v_amount, v_hold_id, null, p_principal, v_now, null, 0)::tollgate.movement]
    || tollgate.return_slices(array[p_organization], array[v_hold_id], array[v_starts + v_charged - v_before - v_amount],
                              array[v_starts + v_charged - v_before], array[p_principal], array[v_now]));
  -- What was used in a period that is over stays used in it.
  update tollgate.balances b
     set used_in_period = b.used_in_period - v_amount
   where b.organization_id = p_organization and b.token_type = v_hold.token_type and b.period_start <= v_at;
  insert into tollgate.outbox (organization_id, kind, subject_id, content)
  values (p_organization, 'charge_refunded', p_charge, jsonb_build_object('tokenType', v_hold.token_type, 'tokens', v_amount));

  outcome := 'refunded'; refunded := v_amount; refunded_in_all := v_before + v_amount;
  select b.available into strict available from tollgate.balances b where b.organization_id = p_organization and b.token_type = v_hold.token_type;
  update tollgate.idempotency_records r
     set answer = jsonb_build_object('tokenType', token_type, 'refunded', refunded, 'refundedInAll', refunded_in_all, 'charged', charged, 'available', available)
   where r.organization_id = p_organization and r.key = p_key;
  return next;
end
$$;
grant execute on function tollgate.refund_charge(text, text, text, bigint, text, text, bytea) to tollgate_api;
