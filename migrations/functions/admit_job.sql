-- Arrow: – → admitted. Prices the feature, takes the hold with its short expiry and records the answer under the
-- caller's idempotency key, in one transaction. A refusal leaves no trace: the key stays free, and a retry after a
-- top-up may succeed.
-- Outcomes: admitted (is_repeat tells a replay), or one of domain/refusals.ts, ADMISSION_REFUSALS, in the order of decision.
-- Locks: the idempotency record, then the balance.
-- A second run with the same key and request finds the record and answers what it says.
create or replace function tollgate.admit_job(
  p_organization  text,
  p_principal     text,
  p_job           text,
  p_feature       text,
  p_input         jsonb,
  p_key           text,
  p_request_hash  bytea,
  p_hold_lifetime interval,
  p_time_budget   interval
) returns table (outcome text, is_repeat boolean, job_id text, answer jsonb, state text, token_type text, tokens bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_claim  record;
  v_hold   record;
  v_answer jsonb;
  v_token_type text;
  v_tokens bigint;
  v_now    timestamptz;
begin
  is_repeat := false;
  outcome := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  if outcome is not null then
    return next;
    return;
  end if;

  select c.* into strict v_claim from tollgate.claim_key(p_organization, p_key, p_request_hash, p_job) c;
  -- A deduction's record names no job.
  if v_claim.outcome = 'key_reused' or (v_claim.outcome = 'answered' and v_claim.job_id is null) then
    outcome := 'key_reused';
    return next;
    return;
  elsif v_claim.outcome = 'answered' then
    outcome := 'admitted'; is_repeat := true; job_id := v_claim.job_id; answer := v_claim.answer;
    select j.state, j.token_type, j.tokens into strict state, token_type, tokens
      from tollgate.jobs j
     where j.organization_id = p_organization and j.id = v_claim.job_id;
    return next;
    return;
  end if;

  select f.token_type, f.tokens into v_token_type, v_tokens
    from tollgate.current_features f
   where f.feature = p_feature;
  token_type := v_token_type; tokens := v_tokens;

  select h.* into strict v_hold
    from tollgate.place_holds(array[p_organization], array[p_job], array[p_feature], null, array[v_tokens],
                              array[p_hold_lifetime], array[p_principal], array[p_job], array[null::text], 'job') h;
  if v_hold.outcome <> 'held' or v_hold.is_repeat then
    delete from tollgate.idempotency_records r
     where r.organization_id = p_organization and r.key = p_key;
    outcome := case when v_hold.is_repeat then 'id_reused' else v_hold.outcome end;
    available := v_hold.available;
    return next;
    return;
  end if;

  -- The feature's own, or the one that it fell back to.
  v_token_type := v_hold.token_type; token_type := v_token_type;
  -- In whole milliseconds, as callers see it: a page of jobs begins exactly after the last one of the page before.
  v_now := date_trunc('milliseconds', v_hold.expires_at - p_hold_lifetime);
  insert into tollgate.jobs (organization_id, id, feature, token_type, tokens, principal, idempotency_key, input, hold_id, time_budget, created_at)
  values (p_organization, p_job, p_feature, v_token_type, v_tokens, p_principal, p_key, p_input, p_job, p_time_budget, v_now);

  outcome := 'admitted'; job_id := p_job; state := 'admitted'; available := v_hold.available;
  v_answer := jsonb_build_object('id', p_job, 'feature', p_feature, 'state', 'admitted', 'tokenType', v_token_type, 'tokens', v_tokens,
                               'createdAt', v_now, 'holdExpiresAt', v_hold.expires_at);
  update tollgate.idempotency_records r
     set answer = v_answer
   where r.organization_id = p_organization and r.key = p_key;
  answer := v_answer;
  return next;
end
$$;
grant execute on function tollgate.admit_job(text, text, text, text, jsonb, text, bytea, interval, interval) to tollgate_api;
