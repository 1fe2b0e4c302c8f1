-- The hold lane, for arrays: gives back what is open of holds, and ends them.
-- Each row's principal is checked against its organization (see tollgate.end_holds for locks and for why a
-- second run is harmless). A row alone tries the short way first.
create or replace function tollgate.release_holds(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[]
) returns table (ordinal integer, outcome text, is_repeat boolean, charge_id text, captured bigint, returned bigint, captured_in_all bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_refusals text[] := tollgate.refusals_to_end(p_principals, p_organizations, p_hold_ids);
begin
  if cardinality(p_hold_ids) = 1 and v_refusals[1] is null then
    select l.captured, l.returned into captured, returned
      from tollgate.end_lone_hold(p_organizations[1], p_hold_ids[1], 'release', null, p_principals[1]) l;
    if found then
      ordinal := 1; outcome := 'released'; is_repeat := false; captured_in_all := captured;
      charge_id := case when captured > 0 then p_hold_ids[1] || '.1' end;
      return next;
      return;
    end if;
  end if;
  return query
    select h.ordinal, h.outcome, h.is_repeat, h.charge_id, h.captured, h.returned, h.captured_in_all
      from tollgate.end_holds(p_organizations, p_hold_ids, 'release', null, null, null, v_refusals, p_principals, null, false) h;
end
$$;
grant execute on function tollgate.release_holds(text[], text[], text[]) to tollgate_api;
