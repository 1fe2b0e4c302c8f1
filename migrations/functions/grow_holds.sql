-- Sets more tokens aside for open holds, for arrays, each under a key of the caller's. What a hold takes later it burns later.
-- Outcomes, in the order of decision: domain/refusals.ts, GROWTH_REFUSALS; else grown, with the hold's amount and what is left.
-- Locks: the balances of the holds, by tollgate.lock_balances.
-- A second run finds the step under its key and answers what is recorded.
create or replace function tollgate.grow_holds(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[],
  p_keys          text[],
  p_amounts       bigint[]
) returns table (ordinal integer, outcome text, is_repeat boolean, amount bigint, available bigint, token_type text, required bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  c_largest  constant bigint := 9007199254740991;
  v_refusals text[] := tollgate.refusals_for(p_principals, p_organizations);
  v_now      timestamptz;
  v_types    text[];
  v_row      record;
  v_hold     tollgate.holds;
  v_step     tollgate.hold_steps;
  v_balance  tollgate.balances;
  v_more     record;
begin
  v_types := tollgate.types_of_holds(p_organizations, p_hold_ids, v_refusals);
  v_now := tollgate.lock_balances(p_organizations, v_types);
  for v_row in
    select u.position::integer as position, u.principal, u.organization_id, u.hold_id, u.key, u.amount, u.refusal, u.token_type
      from unnest(p_principals, p_organizations, p_hold_ids, p_keys, p_amounts, v_refusals, v_types)
             with ordinality as u (principal, organization_id, hold_id, key, amount, refusal, token_type, position)
     order by u.position
  loop
    ordinal := v_row.position; is_repeat := false; amount := null; available := null; token_type := null; required := null;
    select h.* into v_hold
      from tollgate.holds h
     where h.organization_id = v_row.organization_id and h.id = v_row.hold_id and v_row.token_type is not null;
    select b.* into v_balance
      from tollgate.balances b
     where b.organization_id = v_row.organization_id and b.token_type = v_row.token_type;
    select s.* into v_step
      from tollgate.hold_steps s
     where s.organization_id = v_row.organization_id and s.hold_id = v_row.hold_id and s.verb = 'grow' and s.key = v_row.key;
    outcome := case
      when v_row.refusal is not null then v_row.refusal
      when v_hold.id is null then 'hold_unknown'
      -- What was set aside before is answered as it was.
      when v_balance.is_suspended and v_step.key is null then 'organization_suspended'
      when v_hold.job_id is not null then 'hold_of_a_job'
      when v_row.key is null or length(v_row.key) not between 1 and 255 then 'key_invalid'
      when v_step.key is not null and v_step.asked is distinct from v_row.amount then 'key_reused'
      when v_step.key is not null then 'grown'
      when v_hold.state <> 'held' then 'hold_' || v_hold.state
      when v_row.amount is null or v_row.amount <= 0 or v_row.amount > c_largest or v_hold.amount + v_row.amount > c_largest then 'amount_invalid'
      when not v_balance.is_in_plan then 'feature_not_available'
    end;
    if outcome = 'grown' then
      is_repeat := true; available := v_step.available;
    elsif outcome is null then
      select t.* into strict v_more
        from tollgate.take_more(v_row.organization_id, v_row.hold_id, 'grow', v_row.key, v_row.amount, v_row.principal, v_now) t;
      outcome := v_more.outcome; available := v_more.available;
      v_hold.amount := v_hold.amount + case outcome when 'grown' then v_row.amount else 0 end;
    end if;
    if v_row.refusal is null then
      amount := v_hold.amount; token_type := v_row.token_type;
      required := case outcome when 'tokens_insufficient' then v_row.amount end;
    end if;
    return next;
  end loop;
end
$$;
grant execute on function tollgate.grow_holds(text[], text[], text[], text[], bigint[]) to tollgate_api;
