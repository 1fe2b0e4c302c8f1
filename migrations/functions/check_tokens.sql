-- Whether organizations can pay for features at this moment, for arrays, answered row by row: membership, plan gate and
-- balance of each, and where the plan lets the feature fall back to other token types, theirs.
-- The balance is exact by time, by the rule of the view ai_tokens: before next_change_at the row is right, after it
-- tollgate.balance_at computes what settling would do. So a check and a hold never disagree about what is available.
-- What the plan says of the token type stands in the balance's row, so that a check is three look-ups by key: member, feature,
-- balance.
-- Outcomes: sufficient, or one of domain/refusals.ts, CHECK_REFUSALS, in the order of decision.
-- Reads only; locks nothing. Volatile only because it names its tenants before it looks.
create or replace function tollgate.check_tokens(p_organizations text[], p_principals text[], p_features text[])
  returns table (ordinal integer, outcome text, token_type text, tokens bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_now       timestamptz := clock_timestamp();
  v_row       record;
  v_plan      text;
begin
  if cardinality(p_organizations) = 1 then
    perform set_config('tollgate.organizations', p_organizations[1], true);
    -- One alone, of a signed-in member, nothing due: one statement, because starting each costs more than its look-ups.
    select 1, f.token_type, f.tokens, b.available,
           case when b.is_suspended then 'organization_suspended' when not b.is_in_plan then 'feature_not_available' when b.available >= f.tokens then 'sufficient' else 'tokens_insufficient' end
      into ordinal, token_type, tokens, available, outcome
      from tollgate.current_features f
      join tollgate.balances b on b.organization_id = p_organizations[1] and b.token_type = f.token_type
      join public.user_profiles p on p.id::text = substr(p_principals[1], 6) and p.organization_id = p_organizations[1]
     where f.feature = p_features[1] and left(p_principals[1], 5) = 'user:' and b.next_change_at > v_now
       and (b.available >= f.tokens or not f.has_fallbacks);
    if found then
      if outcome = 'organization_suspended' then
        token_type := null; tokens := null; available := null;
      elsif outcome = 'feature_not_available' then
        available := null;
      end if;
      return next;
      return;
    end if;
  else
    perform set_config('tollgate.organizations', coalesce((select string_agg(distinct o.id, ',') from unnest(p_organizations) as o (id)), ''), true);
  end if;

  for v_row in
    select u.position::integer as position, u.organization_id, u.feature, u.refusal, f.token_type, f.tokens, f.has_fallbacks,
           b.available, b.is_in_plan, b.is_suspended, b.next_change_at
      from unnest(p_organizations, p_features, tollgate.refusals_for(p_principals, p_organizations))
             with ordinality as u (organization_id, feature, refusal, position)
      left join lateral (select c.token_type, c.tokens, c.has_fallbacks from tollgate.current_features c where c.feature = u.feature offset 0) f on true
      left join lateral (
        select l.available, l.is_in_plan, l.is_suspended, l.next_change_at
          from tollgate.balances l
         where l.organization_id = u.organization_id and l.token_type = f.token_type and u.refusal is null
        offset 0) b on true
     order by u.position
  loop
    ordinal := v_row.position; token_type := null; tokens := null; available := null;
    outcome := v_row.refusal;
    if outcome is null and v_row.is_in_plan is null then
      -- An organization that was there before Tollgate gets its balances, with the allowance, at first use.
      select o.plan into v_plan from public.organizations o where o.id = v_row.organization_id;
      outcome := case when not found then 'organization_unknown'
                      when exists (select from tollgate.suspensions s where s.organization_id = v_row.organization_id) then 'organization_suspended'
                      when v_row.token_type is null then 'feature_unknown' end;
      v_row.available := tollgate.allowance_at(v_plan, v_row.token_type, v_now);
      v_row.is_in_plan := v_row.available > 0;
    elsif outcome is null and v_row.is_suspended then
      outcome := 'organization_suspended';
    elsif outcome is null and v_row.next_change_at <= v_now then
      v_row.available := (select s.available from tollgate.balances b cross join lateral tollgate.balance_at(b, v_now) s
                           where b.organization_id = v_row.organization_id and b.token_type = v_row.token_type);
    end if;
    if outcome is null then
      token_type := v_row.token_type; tokens := v_row.tokens; available := v_row.available;
      outcome := case
        when not v_row.is_in_plan then 'feature_not_available'
        when available >= tokens then 'sufficient'
        when v_row.has_fallbacks and exists (
          select from public.organizations o
            join tollgate.current_fallbacks k on k.plan = o.plan and k.feature = v_row.feature
            join tollgate.balances b on b.organization_id = o.id and b.token_type = k.token_type
           cross join lateral tollgate.balance_at(b, v_now) s
           where o.id = v_row.organization_id and b.is_in_plan
             and case when b.next_change_at <= v_now then s.available else b.available end >= v_row.tokens) then 'sufficient'
        else 'tokens_insufficient'
      end;
      if outcome = 'feature_not_available' then
        available := null;
      end if;
    end if;
    return next;
  end loop;
end
$$;
grant execute on function tollgate.check_tokens(text[], text[], text[]) to tollgate_api;
