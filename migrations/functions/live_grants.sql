-- The grants that can be spent of these balances, in burn order: balance by balance (number is the place in the arrays
-- given), and within one by its plan's order. Answers one row of arrays. The order, stated once for everybody who burns:
-- by priority, then
--   soonest_expiry  the one that expires soonest, free before paid, oldest (what a plan has unless it says otherwise)
--   free_first      free before paid, the one that expires soonest, oldest
--   oldest, newest  by the order in which they were granted
-- Reads only, what the caller's policies show him; whoever burns holds the balances.
create or replace function tollgate.live_grants(
  p_organizations text[],
  p_token_types   text[],
  p_burn_orders   text[],
  out numbers     integer[],
  out grant_ids   bigint[],
  out remaining   bigint[]
)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
begin
  select array_agg(g.number), array_agg(g.id), array_agg(g.remaining)
    into numbers, grant_ids, remaining
    from (select k.number::integer as number, l.id, l.remaining
            from unnest(p_organizations, p_token_types, p_burn_orders) with ordinality as k (organization_id, token_type, burn_order, number)
           cross join lateral (
             select g.id, g.remaining, g.priority, g.is_paid, g.expires_at
               from tollgate.grants g
              where g.organization_id = k.organization_id and g.token_type = k.token_type and g.remaining > 0
             offset 0) l
           order by k.number, l.priority,
                    case when k.burn_order = 'free_first' then l.is_paid end,
                    case when k.burn_order in ('soonest_expiry', 'free_first') then l.expires_at end nulls last,
                    l.is_paid and k.burn_order = 'soonest_expiry',
                    case when k.burn_order = 'newest' then - l.id else l.id end) g;
end
$$;
grant execute on function tollgate.live_grants(text[], text[], text[]) to tollgate_api;
