-- Makes the balance rows that are missing for these organizations and token types, with the current period's allowance.
-- An organization that was there before Tollgate gets its calendar here, at first use; one that is suspended or has caps of its own
-- keeps them for every balance.
-- Twenty first callers at once: the primary key lets one insert it, the others wait and find it.
-- Locks: inserts in key order. A second run finds the rows and does nothing.
create or replace function tollgate.create_balances(p_organizations text[], p_token_types text[], p_at timestamptz)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_new record;
begin
  insert into tollgate.billing_cycles (organization_id, anchor)
  select o.id, p_at
    from public.organizations o
   where o.id = any (p_organizations)
   order by o.id
  on conflict (organization_id) do nothing;

  for v_new in
    select w.organization_id, w.token_type, coalesce(a.tokens, 0) as allowance, coalesce(p.burn_order, 'soonest_expiry') as burn_order,
           s.organization_id is not null as is_suspended, coalesce(r.most_open_holds, u.open_holds) as most_open_holds,
           tollgate.next_boundary(c.anchor, c.time_zone, p_at) as refresh_date
      from (select distinct u.organization_id, u.token_type
              from unnest(p_organizations, p_token_types) as u (organization_id, token_type)
             where u.token_type is not null) w
      join public.organizations o on o.id = w.organization_id
      join tollgate.billing_cycles c on c.organization_id = o.id
      left join tollgate.current_allowances a on a.plan = o.plan and a.token_type = w.token_type
      left join tollgate.current_plans p on p.plan = o.plan
      left join tollgate.suspensions s on s.organization_id = o.id
      left join tollgate.organization_rules r on r.organization_id = o.id
     cross join tollgate.usual_caps() u
     order by w.organization_id, w.token_type
  loop
    insert into tollgate.balances
           (organization_id, token_type, allocated, granted_in_period, period_start, refresh_date, settled_through, next_change_at, is_in_plan, burn_order,
            is_suspended, most_open_holds)
    values (v_new.organization_id, v_new.token_type, v_new.allowance, v_new.allowance, p_at, v_new.refresh_date, p_at, v_new.refresh_date,
            v_new.allowance > 0, v_new.burn_order, v_new.is_suspended, v_new.most_open_holds)
    on conflict (organization_id, token_type) do nothing;

    if found and v_new.allowance > 0 then
      perform tollgate.add_grant(v_new.organization_id, v_new.token_type, 'allowance', v_new.allowance, 100, false,
                                 p_at, v_new.refresh_date, 'provisioning', p_at);
    end if;
  end loop;
end
$$;
