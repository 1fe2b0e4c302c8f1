-- Whether an organization can pay for a feature at this moment: membership, plan gate and balance in one indexed read.
-- The balance is the view's, exact by time, so a check and a hold never disagree about what is available.
-- Outcomes: sufficient · not_a_member · organization_unknown · feature_unknown · feature_not_available · tokens_insufficient.
-- Reads only; locks nothing. Volatile only because it names its tenant before it looks.
create or replace function tollgate.check_tokens(p_organization text, p_principal text, p_feature text)
  returns table (outcome text, token_type text, tokens bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = ''
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  outcome := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  if outcome is null then
    perform set_config('tollgate.organizations', p_organization, true);
    select f.token_type, f.tokens,
           -- An organization that was there before Tollgate gets its balances, with the allowance, at first use.
           coalesce(t.balance, a.tokens),
           case
             when o.id is null                          then 'organization_unknown'
             when f.feature is null                     then 'feature_unknown'
             when coalesce(a.tokens, 0) = 0             then 'feature_not_available'
             when coalesce(t.balance, a.tokens) < f.tokens then 'tokens_insufficient'
             else 'sufficient'
           end
      into token_type, tokens, available, outcome
      from (values (1)) as always (one)
      left join public.organizations o on o.id = p_organization
      left join tollgate.current_features f on f.feature = p_feature
      left join tollgate.current_allowances a on a.plan = o.plan and a.token_type = f.token_type
      left join public.ai_tokens t on t.organization_id = o.id and t.token_type = f.token_type;
  end if;
  return next;
end
$$;
grant execute on function tollgate.check_tokens(text, text, text) to tollgate_api;
