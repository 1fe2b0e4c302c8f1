-- What a balance will be at an instant, if nobody does anything: the same rules as tollgate.settle_time, computed without
-- writing, for readers that may not write. The caller's own policies chose the row that it passes. A test holds the two
-- against each other. Reads only; locks nothing.
create or replace function tollgate.balance_at(p_balance tollgate.balances, p_at timestamptz)
  returns table (available bigint, held bigint, used_in_period bigint, allocated bigint, refresh_date timestamptz)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_part      record;
  v_grant     bigint;
  v_ends_at   timestamptz;
  v_anchor    timestamptz;
  v_time_zone text;
  v_plan      text;
  v_allowance bigint;
  v_owed      bigint;
  v_unpaid    bigint;
begin
  select coalesce(sum(g.remaining), 0) into available
    from tollgate.grants g
   where g.organization_id = p_balance.organization_id and g.token_type = p_balance.token_type
     and g.remaining > 0 and (g.expires_at is null or g.expires_at > p_at);

  -- Holds that lapse until then, grant by grant: tokens live as long as their grant, or through the days of grace that the
  -- first one back after the grant's end opens.
  for v_part in
    select g.id, g.source in ('allowance', 'upgrade') as is_of_plan, g.expires_at as grant_expires_at,
           h.expires_at as lapses_at, least(t.amount, t.reaches - h.captured) as amount
      from tollgate.holds h
     cross join lateral (
       select u.grant_id, u.amount, sum(u.amount) over (order by u.rank rows unbounded preceding)::bigint as reaches
         from unnest(h.grant_ids, h.grant_amounts) with ordinality as u (grant_id, amount, rank)) t
      join tollgate.grants g on g.organization_id = h.organization_id and g.id = t.grant_id
     where h.organization_id || '/' || h.token_type = p_balance.organization_id || '/' || p_balance.token_type
       and h.expires_at > p_balance.settled_through and h.expires_at <= p_at and h.state = 'held'
       and t.reaches > h.captured
     order by g.id, h.expires_at, h.id
  loop
    if v_part.id is distinct from v_grant then
      v_grant := v_part.id;
      v_ends_at := v_part.grant_expires_at;
    end if;
    if v_ends_at < v_part.lapses_at then
      continue when v_part.is_of_plan;
      v_ends_at := v_part.lapses_at + tollgate.grace();
    end if;
    if v_ends_at is null or v_ends_at > p_at then
      available := available + v_part.amount;
    end if;
  end loop;

  select p_balance.held - coalesce(sum(h.amount - h.captured), 0) into held
    from tollgate.holds h
   where h.organization_id || '/' || h.token_type = p_balance.organization_id || '/' || p_balance.token_type
     and h.expires_at > p_balance.settled_through and h.expires_at <= p_at and h.state = 'held';

  used_in_period := p_balance.used_in_period;
  allocated := p_balance.allocated;
  refresh_date := p_balance.refresh_date;
  if refresh_date <= p_at then
    select c.anchor, c.time_zone, o.plan
      into strict v_anchor, v_time_zone, v_plan
      from public.organizations o
      join tollgate.billing_cycles c on c.organization_id = o.id
     where o.id = p_balance.organization_id;
    v_owed := p_balance.owed;
    while refresh_date <= p_at loop
      v_allowance := tollgate.allowance_at(v_plan, p_balance.token_type, refresh_date);
      v_unpaid := greatest(0, v_owed - v_allowance);
      allocated := v_allowance - (v_owed - v_unpaid);
      v_owed := v_unpaid;
      refresh_date := tollgate.next_boundary(v_anchor, v_time_zone, refresh_date);
    end loop;
    available := available + allocated;
    allocated := v_allowance;
    used_in_period := 0;
  end if;
  return next;
end
$$;
grant execute on function tollgate.balance_at(tollgate.balances, timestamptz) to tollgate_api, tollgate_worker, tollgate_auditor, authenticated, service_role;
