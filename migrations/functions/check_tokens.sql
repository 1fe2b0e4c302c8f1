-- Whether organizations can pay for features at this moment, for arrays, answered row by row: membership, plan gate and
-- balance of each.
-- The balance is exact by time, by the rule of the view ai_tokens: before next_change_at the row is right, after it
-- tollgate.balance_at computes what settling would do. So a check and a hold never disagree about what is available.
-- Balances are looked up one by one, each under its own tenant: under the list of all, the policy's array is sorted anew for
-- each row that a join looks for, and 256 rows took longer. One row 270 µs with its round trip (250 as a function of one row
-- without arrays), 256 rows 6 ms; with look-ups one after the other for everything 270 µs and 10 ms.
-- Outcomes: sufficient · not_a_member · organization_unknown · feature_unknown · feature_not_available · tokens_insufficient.
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
  v_row     record;
  v_balance tollgate.balances;
begin
  for v_row in
    select u.position::integer as position, u.organization_id, f.token_type, f.tokens, a.tokens as allowance,
           case
             when u.refusal is not null then u.refusal
             when o.id is null then 'organization_unknown'
             when f.feature is null then 'feature_unknown'
             when coalesce(a.tokens, 0) = 0 then 'feature_not_available'
           end as refusal
      from unnest(p_organizations, p_features, tollgate.refusals_for(p_principals, p_organizations))
             with ordinality as u (organization_id, feature, refusal, position)
      left join public.organizations o on o.id = u.organization_id and u.refusal is null
      left join tollgate.current_features f on f.feature = u.feature and o.id is not null
      left join tollgate.current_allowances a on a.plan = o.plan and a.token_type = f.token_type
     order by u.position
  loop
    ordinal := v_row.position; token_type := v_row.token_type; tokens := v_row.tokens;
    outcome := v_row.refusal; available := null;
    if outcome is not null then
      return next;
      continue;
    end if;

    perform set_config('tollgate.organizations', v_row.organization_id, true);
    select b.* into v_balance from tollgate.balances b where b.organization_id = v_row.organization_id and b.token_type = v_row.token_type;
    if not found then
      -- An organization that was there before Tollgate gets its balances, with the allowance, at first use.
      available := v_row.allowance;
    elsif v_balance.next_change_at > clock_timestamp() then
      available := v_balance.available;
    else
      select s.available into available from tollgate.balance_at(v_balance, clock_timestamp()) s;
    end if;
    outcome := case when available < tokens then 'tokens_insufficient' else 'sufficient' end;
    return next;
  end loop;
end
$$;
grant execute on function tollgate.check_tokens(text[], text[], text[]) to tollgate_api;
