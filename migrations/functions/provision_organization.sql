-- An organization has its allowance and its refresh date in the statement that creates it.
-- Locks: its balances, new in this transaction. A second insert of the same id is refused by the primary key.
create or replace function tollgate.provision_organization() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_now timestamptz := clock_timestamp();
begin
  perform tollgate.check_plan(new.plan);
  insert into tollgate.billing_cycles (organization_id, anchor) values (new.id, v_now)
  on conflict (organization_id) do nothing;
  perform tollgate.lock_balances(
    (select array_agg(new.id) from tollgate.current_allowances a where a.plan = new.plan),
    (select array_agg(a.token_type order by a.token_type) from tollgate.current_allowances a where a.plan = new.plan));
  return null;
end
$$;

create or replace trigger organizations_provision
  after insert on public.organizations
  for each row execute function tollgate.provision_organization();
