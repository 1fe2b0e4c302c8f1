-- Charges what a feature costs, in one step: the hold lane's hold and capture together, with the usage log's row. An
-- idempotency key is optional: with one, the answer is stored with the effect and given again to a repeat.
-- Outcomes: deducted (is_repeat tells a replay), or one of domain/refusals.ts, DEDUCTION_REFUSALS, in the order of decision. A refusal leaves no trace: the key stays free, and a retry after a top-up may succeed.
-- Locks: the idempotency record, then the balance.
-- A second run with the same key and request answers the recorded amounts; without a key the hold's id, which the caller
-- made, is refused as a repeat, so a call whose answer was lost can be repeated under its id without a second charge.
create or replace function tollgate.deduct_tokens(
  p_organization text,
  p_principal    text,
  p_hold         text,
  p_feature      text,
  p_metadata     jsonb,
  p_key          text,
  p_request_hash bytea
) returns table (outcome text, is_repeat boolean, token_type text, tokens bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  c_lifetime   constant interval := interval '1 minute';
  v_claim      record;
  v_hold       record;
  v_end        record;
  v_token_type text;
  v_tokens     bigint;
begin
  is_repeat := false;
  outcome := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  if outcome is not null then
    return next;
    return;
  end if;

  if p_key is not null then
    select c.* into strict v_claim from tollgate.claim_key(p_organization, p_key, p_request_hash, null) c;
    -- A job's record has another answer.
    if v_claim.outcome = 'key_reused' or (v_claim.outcome = 'answered' and v_claim.job_id is not null) then
      outcome := 'key_reused';
      return next;
      return;
    elsif v_claim.outcome = 'answered' then
      outcome := 'deducted'; is_repeat := true;
      token_type := v_claim.answer ->> 'tokenType';
      tokens     := (v_claim.answer ->> 'tokens')::bigint;
      available  := (v_claim.answer ->> 'available')::bigint;
      return next;
      return;
    end if;
  end if;

  select f.token_type, f.tokens into v_token_type, v_tokens
    from tollgate.current_features f
   where f.feature = p_feature;
  token_type := v_token_type; tokens := v_tokens;

  -- The expiry is never reached: the capture follows in the same transaction. The short way first, as a lone hold takes it.
  select 'held' as outcome, false as is_repeat, l.token_type, l.available, l.expires_at into v_hold
    from tollgate.place_lone_hold(p_organization, p_hold, p_feature, v_tokens, c_lifetime, p_principal) l;
  if not found then
    select h.outcome, h.is_repeat, h.token_type, h.available, h.expires_at into strict v_hold
      from tollgate.place_holds(array[p_organization], array[p_hold], array[p_feature], null, array[v_tokens],
                                array[c_lifetime], array[p_principal], array[null::text], array[null::text], 'charge') h;
  end if;
  available := v_hold.available;
  -- The feature's own, or the one that it fell back to.
  v_token_type := coalesce(v_hold.token_type, v_token_type); token_type := v_token_type;
  if v_hold.is_repeat and v_hold.outcome = 'captured' then
    outcome := 'deducted'; is_repeat := true;
    return next;
    return;
  elsif v_hold.outcome <> 'held' or v_hold.is_repeat then
    if p_key is not null then
      delete from tollgate.idempotency_records r
       where r.organization_id = p_organization and r.key = p_key;
    end if;
    outcome := case when v_hold.is_repeat then 'id_reused' else v_hold.outcome end;
    return next;
    return;
  end if;

  -- At the instant of the hold, on the balance that it has locked.
  select e.* into strict v_end
    from tollgate.end_hold(p_organization, p_hold, 'capture', null, null, true, p_principal, p_metadata, v_hold.expires_at - c_lifetime) e;
  if v_end.outcome <> 'captured' then
    raise exception 'tollgate: the hold of a deduction is %', v_end.outcome;
  end if;
  if p_key is not null then
    update tollgate.idempotency_records r
       set answer = jsonb_build_object('tokenType', v_token_type, 'tokens', v_tokens, 'available', v_hold.available)
     where r.organization_id = p_organization and r.key = p_key;
  end if;
  outcome := 'deducted';
  return next;
end
$$;
grant execute on function tollgate.deduct_tokens(text, text, text, text, jsonb, text, bytea) to tollgate_api;
