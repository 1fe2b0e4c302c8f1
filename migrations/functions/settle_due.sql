-- Books what time has done to an organization's balances, where that is not booked yet, so that the ledger and the rows say
-- what is so now: for readers of more than one figure, whom tollgate.balance_at cannot answer. Makes balances that are
-- missing, as first use does. Outcomes: settled · not_a_member · organization_unknown.
-- Locks: nothing while nothing is due, which is nearly always; else the balances (tollgate.lock_balances).
-- A second run finds nothing due.
create or replace function tollgate.settle_due(p_organization text, p_principal text)
  returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_refusal     text := (tollgate.refusals_for(array[p_principal], array[p_organization]))[1];
  v_token_types text[];
begin
  if v_refusal is not null then
    return v_refusal;
  end if;
  if not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  end if;

  perform set_config('tollgate.organizations', p_organization, true);
  select array_agg(t.token_type order by t.token_type) into v_token_types
    from (select a.token_type
            from tollgate.current_allowances a
           where not exists (select from tollgate.balances b where b.organization_id = p_organization and b.token_type = a.token_type)
          union
          select b.token_type
            from tollgate.balances b
           where b.organization_id = p_organization and b.next_change_at <= clock_timestamp()) t;
  if v_token_types is not null then
    perform tollgate.lock_balances(array_fill(p_organization, array[cardinality(v_token_types)]), v_token_types);
  end if;
  return 'settled';
end
$$;
grant execute on function tollgate.settle_due(text, text) to tollgate_api;
