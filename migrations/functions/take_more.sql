-- Sets more tokens aside for an open hold, from its balance's grants in burn order, behind what it took before. p_verb is
-- 'grow', or 'draw' where a capture above the hold takes the rest.
-- Outcomes: grown · limit_reached · tokens_insufficient; available tells what is left.
-- Locks: none; the caller holds the balance row and has found the hold open.
-- A second run under the same key is the caller's to find first: the step that is written here.
create or replace function tollgate.take_more(
  p_organization text,
  p_hold         text,
  p_verb         text,
  p_key          text,
  p_amount       bigint,
  p_actor        text,
  p_now          timestamptz,
  out outcome text, out available bigint
)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_hold     tollgate.holds;
  v_balance  tollgate.balances;
begin
  select h.* into strict v_hold from tollgate.holds h where h.organization_id = p_organization and h.id = p_hold;
  select b.* into strict v_balance from tollgate.balances b where b.organization_id = p_organization and b.token_type = v_hold.token_type;
  available := v_balance.available;
  -- In the windows that the hold began in, so that what comes back of it comes off where it was counted.
  if v_hold.limit_counters is not null then
    perform from tollgate.limit_counters c
      join tollgate.sub_limits l on l.organization_id = c.organization_id and l.id = c.limit_id
     where c.organization_id = p_organization and c.id = any (v_hold.limit_counters) and c.used + p_amount > l.tokens;
    if found then
      outcome := 'limit_reached';
      return;
    end if;
  end if;
  if available < p_amount then
    outcome := 'tokens_insufficient';
    return;
  end if;
  if v_hold.limit_counters is not null then
    update tollgate.limit_counters c
       set used = c.used + p_amount
     where c.organization_id = p_organization and c.id = any (v_hold.limit_counters);
  end if;

  with burnt as (
    select l.grant_id, l.position, least(l.remaining, p_amount - (l.reaches - l.remaining))::bigint as amount
      from (select u.grant_id, u.remaining, u.position, sum(u.remaining) over (order by u.position rows unbounded preceding) as reaches
              from tollgate.live_grants(array[p_organization], array[v_hold.token_type], array[v_balance.burn_order]) g
             cross join unnest(g.grant_ids, g.remaining) with ordinality as u (grant_id, remaining, position)) l
     where l.reaches - l.remaining < p_amount
  ), reduced as (
    update tollgate.grants g
       set remaining = g.remaining - b.amount
      from burnt b
     where g.organization_id = p_organization and g.id = b.grant_id
  )
  update tollgate.holds h
     set amount = h.amount + p_amount,
         grant_ids = h.grant_ids || (select array_agg(b.grant_id order by b.position) from burnt b),
         grant_amounts = h.grant_amounts || (select array_agg(b.amount order by b.position) from burnt b)
   where h.organization_id = p_organization and h.id = p_hold;

  outcome := 'grown'; available := available - p_amount;
  insert into tollgate.hold_steps (organization_id, hold_id, verb, key, asked, amount, available, created_at)
  values (p_organization, p_hold, p_verb, p_key, p_amount, p_amount, available, p_now);
  perform tollgate.post_movements(array[
    row(p_organization, v_hold.token_type, 'hold', 'available', 'held', p_amount, p_hold, null, p_actor, p_now, v_hold.expires_at, 0)::tollgate.movement]);
end
$$;
