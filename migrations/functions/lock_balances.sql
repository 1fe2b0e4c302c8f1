-- Every state change begins here. Makes these organizations the transaction's own, creates missing balances, locks the
-- rows in key order and settles what time has done to them. Answers the instant that the rest of the call uses.
-- Lock order of the whole system: idempotency record, job, organization, then balances sorted by (organization, type).
-- Grants, holds, debts and entries of a balance change only under its lock and need none of their own.
-- A second run in the same transaction holds the locks already and settles nothing more.
create or replace function tollgate.lock_balances(p_organizations text[], p_token_types text[])
  returns timestamptz
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_now     timestamptz;
  v_locked  integer;
  v_wanted  integer;
  v_due     record;
begin
  -- Those of this call and no others: a list that grew with every call would make a statement over many organizations
  -- slower with each row.
  perform set_config('tollgate.organizations', (select string_agg(distinct o.id, ',') from unnest(p_organizations) as o (id)), true);

  -- Organizations that do not exist are the caller's to refuse; here they simply have no row to lock.
  select count(*) into v_wanted
    from (select distinct u.organization_id, u.token_type
            from unnest(p_organizations, p_token_types) as u (organization_id, token_type)
            join public.organizations o on o.id = u.organization_id) w;

  for v_attempt in 1..2 loop
    select count(*) into v_locked
      from (select 1
              from tollgate.balances b
             where (b.organization_id, b.token_type) in (
                     select u.organization_id, u.token_type from unnest(p_organizations, p_token_types) as u (organization_id, token_type))
             order by b.organization_id, b.token_type
               for no key update) locked;
    exit when v_locked = v_wanted;
    perform tollgate.create_balances(p_organizations, p_token_types, clock_timestamp());
  end loop;

  -- Read after the locks: a caller that waited must not decide with the time at which it began to wait. The database's
  -- clock may step back, time settled for a balance may not.
  select greatest(clock_timestamp(), max(b.settled_through)) into v_now
    from tollgate.balances b
   where (b.organization_id, b.token_type) in (
           select u.organization_id, u.token_type from unnest(p_organizations, p_token_types) as u (organization_id, token_type));

  for v_due in
    select b.organization_id, b.token_type
      from tollgate.balances b
     where (b.organization_id, b.token_type) in (
             select u.organization_id, u.token_type from unnest(p_organizations, p_token_types) as u (organization_id, token_type))
       and b.next_change_at <= v_now
     order by b.organization_id, b.token_type
  loop
    perform tollgate.settle_time(v_due.organization_id, v_due.token_type, v_now);
  end loop;
  return v_now;
end
$$;
