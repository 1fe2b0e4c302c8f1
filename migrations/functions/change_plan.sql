-- A change of plan takes effect in the statement that makes it.
-- Before the row changes, so that time up to now is settled under the old plan. An upgrade brings the difference to the
-- largest allowance already granted in this period, so switching to and fro mints nothing; a downgrade takes nothing away
-- (the plan gate blocks at once, the next period brings the smaller allowance).
-- Locks: the organization (the update itself), then its balances.
create or replace function tollgate.change_plan() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_now     timestamptz;
  v_balance record;
begin
  perform tollgate.check_plan(new.plan);
  v_now := tollgate.lock_balances(
    (select array_agg(old.id) from tollgate.current_allowances a where a.plan = new.plan),
    (select array_agg(a.token_type order by a.token_type) from tollgate.current_allowances a where a.plan = new.plan));

  for v_balance in
    select b.token_type, b.period_start, b.refresh_date, a.tokens as allowance,
           a.tokens - b.granted_in_period as difference
      from tollgate.balances b
      join tollgate.current_allowances a on a.plan = new.plan and a.token_type = b.token_type
     where b.organization_id = old.id
     order by b.token_type
  loop
    update tollgate.balances b
       set allocated = v_balance.allowance,
           is_in_plan = v_balance.allowance > 0,
           burn_order = (select p.burn_order from tollgate.current_plans p where p.plan = new.plan),
           granted_in_period = greatest(b.granted_in_period, v_balance.allowance),
           next_change_at = least(b.next_change_at, b.refresh_date)
     where b.organization_id = old.id and b.token_type = v_balance.token_type;
    if v_balance.difference > 0 then
      perform tollgate.add_grant(old.id, v_balance.token_type, 'upgrade', v_balance.difference, 100, false,
                                 v_balance.period_start, v_balance.refresh_date, 'plan:' || new.plan, v_now);
    end if;
  end loop;

  insert into tollgate.outbox (organization_id, kind, subject_id, content)
  values (old.id, 'plan_changed', null, jsonb_build_object('from', old.plan, 'to', new.plan));
  return new;
end
$$;

create or replace trigger organizations_change_plan
  before update of plan on public.organizations
  for each row when (old.plan is distinct from new.plan)
  execute function tollgate.change_plan();
