-- Every state change begins here. Makes these organizations the transaction's own, creates missing balances, locks the
-- rows in key order and settles what time has done to them. Answers the instant that the rest of the call uses.
-- Lock order of the whole system: idempotency record, job, organization, then balances sorted by (organization, type).
-- Grants, holds, debts, counters and entries of a balance change only under its lock and need none of their own.
-- A second run in the same transaction holds the locks already and settles nothing more.
create or replace function tollgate.lock_balances(p_organizations text[], p_token_types text[])
  returns timestamptz
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now     timestamptz;
  v_wanted  integer;
  v_locked  integer;
  v_settled timestamptz;
  v_change  timestamptz;
  v_due     record;
begin
  if cardinality(p_organizations) is distinct from 1 then
    -- Those of this call and no others: a list that grew with every call would make a statement over many organizations
    -- slower with each row.
    perform set_config('tollgate.organizations', coalesce((select string_agg(distinct o.id, ',') from unnest(p_organizations) as o (id)), ''), true);
  else
    perform set_config('tollgate.organizations', coalesce(p_organizations[1], ''), true);
  end if;

  for v_attempt in 1..2 loop
    if cardinality(p_organizations) = 1 then
      -- A row without a token type names nothing to lock.
      v_wanted := (p_token_types[1] is not null)::integer;
      select b.settled_through, b.next_change_at into v_settled, v_change
        from tollgate.balances b
       where b.organization_id = p_organizations[1] and b.token_type = p_token_types[1]
         for no key update;
      v_locked := found::integer;
    else
      select count(*), count(l.settled_through), max(l.settled_through), min(l.next_change_at)
        into v_wanted, v_locked, v_settled, v_change
        from (select distinct u.organization_id, u.token_type
                from unnest(p_organizations, p_token_types) as u (organization_id, token_type)
               where u.organization_id is not null and u.token_type is not null
               order by u.organization_id, u.token_type
              offset 0) k
        left join lateral (
          select b.settled_through, b.next_change_at
            from tollgate.balances b
           where b.organization_id = k.organization_id and b.token_type = k.token_type
             for no key update) l on true;
    end if;
    -- Organizations that do not exist are the caller's to refuse; here they simply have no row to lock.
    exit when v_locked = v_wanted or v_attempt = 2;
    perform tollgate.create_balances(p_organizations, p_token_types, clock_timestamp());
  end loop;

  -- Read after the locks: a caller that waited must not decide with the time at which it began to wait. The database's
  -- clock may step back, time settled for a balance may not.
  v_now := greatest(clock_timestamp(), v_settled);

  if v_change <= v_now then
    for v_due in
      select k.organization_id, k.token_type
        from (select distinct u.organization_id, u.token_type from unnest(p_organizations, p_token_types) as u (organization_id, token_type)) k
        join tollgate.balances b on b.organization_id = k.organization_id and b.token_type = k.token_type
       where b.next_change_at <= v_now
       order by k.organization_id, k.token_type
    loop
      perform tollgate.settle_time(v_due.organization_id, v_due.token_type, v_now);
    end loop;
  end if;
  return v_now;
end
$$;
