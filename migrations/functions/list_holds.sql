-- The ids of an organization's holds, jobs' holds too: those that expire last come first, ids downwards at one instant. That
-- is the order of holds_lapse_idx within each token type; an order by created_at would need an index of its own, which every
-- hold would pay for. p_state, p_feature: null for all. Behind the position (p_expires_at, p_id) where it is given.
-- A hold whose time is over is lapsed, booked or not; so an open one expires later than now, and the open ones are a range.
-- In here and not in the caller's own query because a policy may not look into an expression: the index would be passed by.
-- In each type by what the index holds and no more, because that needs no sort, and hold by hold, so that it stops there. For
-- any other order, or with a bitmap at hand, the planner expects few holds and reads all 20,000 of them for a page of 20:
-- 1,331 blocks instead of 14.
-- A state or feature that few holds have would be looked for among all of them, and a partial index for it would cost every
-- hold. So of each type p_walk holds are looked at and no more: where that ends before the page is full, a last row without
-- an id says from which instant on (expires_at) nothing was passed over, and the next page goes on below it.
-- Reads only; locks nothing. Shows nothing of an organization that is not a tenant that the caller has named.
create or replace function tollgate.list_holds(
  p_organization text,
  p_state        text,
  p_feature      text,
  p_expires_at   timestamptz,
  p_id           text,
  p_limit        integer,
  p_walk         integer
) returns table (ordinal integer, hold_id text, looked_at timestamptz, expires_at timestamptz)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_now       timestamptz := clock_timestamp();
  v_above     timestamptz := case p_state when 'held' then v_now else '-infinity' end;
  v_type      text;
  v_hold      record;
  v_looked_at integer;
  v_found     integer;
  v_at        timestamptz;
  v_ids       text[] := '{}';
  v_instants  timestamptz[] := '{}';
  v_walked_to timestamptz := '-infinity';
begin
  for v_type in select b.token_type from tollgate.balances b where b.organization_id = p_organization loop
    v_looked_at := 0; v_found := 0; v_at := 'infinity';
    for v_hold in
      select l.id, l.expires_at,
             (p_state is null or p_state = case when l.state = 'held' and l.expires_at <= v_now then 'lapsed' else l.state end)
               and (p_feature is null or p_feature = l.feature) as is_wanted
        from tollgate.holds l
       where l.organization_id || '/' || l.token_type = p_organization || '/' || v_type
         and l.expires_at <= coalesce(p_expires_at, 'infinity') and l.expires_at > v_above
         and (p_expires_at is null or (l.expires_at, l.id) < (p_expires_at, p_id))
       order by l.organization_id || '/' || l.token_type desc, l.expires_at desc
    loop
      -- The index knows no order of ids: what ends at one instant is looked at whole.
      if v_hold.expires_at < v_at then
        exit when v_found >= p_limit;
        if v_looked_at >= p_walk then
          v_walked_to := greatest(v_walked_to, v_at);
          exit;
        end if;
      end if;
      v_looked_at := v_looked_at + 1; v_at := v_hold.expires_at;
      if v_hold.is_wanted then
        v_found := v_found + 1; v_ids := v_ids || v_hold.id; v_instants := v_instants || v_at;
      end if;
    end loop;
  end loop;

  return query
    select row_number() over (order by u.expires_at desc, u.id desc)::integer, u.id, v_now, u.expires_at
      from unnest(v_ids, v_instants) as u (id, expires_at)
     where u.expires_at >= v_walked_to
     order by u.expires_at desc, u.id desc
     limit p_limit;
  if v_walked_to > '-infinity' and (select count(*) from unnest(v_instants) as u (expires_at) where u.expires_at >= v_walked_to) < p_limit then
    return query select null::integer, null::text, v_now, v_walked_to;
  end if;
end
$$;
grant execute on function tollgate.list_holds(text, text, text, timestamptz, text, integer, integer) to tollgate_api;
