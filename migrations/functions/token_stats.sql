-- Every token type of an organization with its balance, exact by time. One row with the outcome 'not_a_member' or
-- 'organization_unknown' where the caller may not see it or there is nothing to see; else a row per token type: 'found'.
-- Reads only; locks nothing. Volatile only because it names its tenant before it looks.
create or replace function tollgate.token_stats(p_organization text, p_principal text)
  returns table (outcome text, token_type text, available bigint, held bigint, used bigint, allocated bigint, refresh_date timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := clock_timestamp();
begin
  outcome := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  if outcome is null and not exists (select from public.organizations o where o.id = p_organization) then
    outcome := 'organization_unknown';
  end if;
  if outcome is not null then
    return next;
    return;
  end if;

  perform set_config('tollgate.organizations', p_organization, true);
  return query
    select 'found', a.token_type,
           coalesce(t.available, b.available, a.tokens),
           coalesce(t.held, b.held, 0),
           coalesce(t.used_in_period, b.used_in_period, 0),
           coalesce(t.allocated, b.allocated, a.tokens),
           coalesce(t.refresh_date, b.refresh_date,
                    tollgate.next_boundary(coalesce(c.anchor, v_now), coalesce(c.time_zone, 'UTC'), v_now))
      from public.organizations o
      join tollgate.current_allowances a on a.plan = o.plan
      left join tollgate.billing_cycles c on c.organization_id = o.id
      left join tollgate.balances b on b.organization_id = o.id and b.token_type = a.token_type
      left join lateral (
        select s.* from tollgate.balance_at(b, v_now) s where b.next_change_at <= v_now
      ) t on true
     where o.id = p_organization
     order by a.token_type;
end
$$;
grant execute on function tollgate.token_stats(text, text) to tollgate_api;
