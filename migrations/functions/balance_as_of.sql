-- What a balance was at an instant. The ledger says it: the figures after the last entry that had taken effect by then,
-- found by tollgate.entries_before. Before the first entry: zeros. At or after the last one, what had fallen due by p_at
-- may not be booked yet: tollgate.balance_at computes it, exact by time; an instant ahead answers what will be if nobody
-- does anything.
-- The policy on balances is the gate: it shows the row to whoever has named the organization as his tenant (readAs), and
-- without the row there are only zeros. Reads only; locks nothing.
create or replace function tollgate.balance_as_of(p_organization text, p_token_type text, p_at timestamptz)
  returns table (available bigint, held bigint, owed bigint)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_balance     tollgate.balances;
  v_entry       bigint;
  v_refresh     timestamptz;
  v_plan        text;
  v_anchor      timestamptz;
  v_time_zone   text;
begin
  available := 0; held := 0; owed := 0;
  select b.* into v_balance
    from tollgate.balances b
   where b.organization_id = p_organization and b.token_type = p_token_type;
  if not found or p_at is null then
    return next;
    return;
  end if;

  -- An instant of the database is a whole microsecond: up to p_at is before the next one.
  v_entry := tollgate.entries_before(p_organization, p_token_type, v_balance.last_entry, p_at + interval '1 microsecond');
  if v_entry = v_balance.last_entry and p_at >= v_balance.next_change_at then
    select s.available, s.held into strict available, held from tollgate.balance_at(v_balance, p_at) s;
    -- Every allowance pays what is owed first.
    owed := v_balance.owed;
    v_refresh := v_balance.refresh_date;
    if owed > 0 and v_refresh <= p_at then
      select o.plan, c.anchor, c.time_zone into strict v_plan, v_anchor, v_time_zone
        from public.organizations o
        join tollgate.billing_cycles c on c.organization_id = o.id
       where o.id = p_organization;
      while owed > 0 and v_refresh <= p_at loop
        owed := greatest(0, owed - tollgate.allowance_at(v_plan, p_token_type, v_refresh));
        v_refresh := tollgate.next_boundary(v_anchor, v_time_zone, v_refresh);
      end loop;
    end if;
  elsif v_entry > 0 then
    select e.available_after, e.held_after, e.owed_after into strict available, held, owed
      from tollgate.entries_between(p_organization, p_token_type, v_entry, v_entry) e;
  end if;
  return next;
end
$$;
grant execute on function tollgate.balance_as_of(text, text, timestamptz) to tollgate_api, tollgate_auditor;
