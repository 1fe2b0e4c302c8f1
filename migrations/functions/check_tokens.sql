-- Whether an organization can pay for a feature at this moment: membership, plan gate and balance.
-- The balance is exact by time, by the rule of the view ai_tokens: before next_change_at the row is right, after it
-- tollgate.balance_at computes what settling would do. So a check and a hold never disagree about what is available.
-- A few look-ups by key, one after the other: as one joined query they took four times as long, nearly all of it to start.
-- Outcomes: sufficient · not_a_member · organization_unknown · feature_unknown · feature_not_available · tokens_insufficient.
-- Reads only; locks nothing. Volatile only because it names its tenant before it looks.
create or replace function tollgate.check_tokens(p_organization text, p_principal text, p_feature text)
  returns table (outcome text, token_type text, tokens bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_plan      text;
  v_allowance bigint;
  v_balance   tollgate.balances;
  v_type      text;
  v_tokens    bigint;
begin
  outcome := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  if outcome is not null then
    return next;
    return;
  end if;

  select o.plan into v_plan from public.organizations o where o.id = p_organization;
  if not found then
    outcome := 'organization_unknown';
    return next;
    return;
  end if;

  select f.token_type, f.tokens into v_type, v_tokens from tollgate.current_features f where f.feature = p_feature;
  token_type := v_type; tokens := v_tokens;
  if not found then
    outcome := 'feature_unknown';
    return next;
    return;
  end if;

  select a.tokens into v_allowance from tollgate.current_allowances a where a.plan = v_plan and a.token_type = v_type;
  if coalesce(v_allowance, 0) = 0 then
    outcome := 'feature_not_available';
    return next;
    return;
  end if;

  perform set_config('tollgate.organizations', p_organization, true);
  select b.* into v_balance from tollgate.balances b where b.organization_id = p_organization and b.token_type = v_type;
  if not found then
    -- An organization that was there before Tollgate gets its balances, with the allowance, at first use.
    available := v_allowance;
  elsif v_balance.next_change_at > clock_timestamp() then
    available := v_balance.available;
  else
    select s.available into available from tollgate.balance_at(v_balance, clock_timestamp()) s;
  end if;
  outcome := case when available < v_tokens then 'tokens_insufficient' else 'sufficient' end;
  return next;
end
$$;
grant execute on function tollgate.check_tokens(text, text, text) to tollgate_api;
