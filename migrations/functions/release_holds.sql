-- The hold lane, for arrays: gives back what is open of holds, and ends them.
-- Each row's principal is checked against its organization (see tollgate.end_holds for locks and for why a second run is harmless).
create or replace function tollgate.release_holds(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[]
) returns table (ordinal integer, outcome text, is_repeat boolean, charge_id text, captured bigint, returned bigint, captured_in_all bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  return query
    select h.ordinal, h.outcome, h.is_repeat, h.charge_id, h.captured, h.returned, h.captured_in_all
      from tollgate.end_holds(p_organizations, p_hold_ids, 'release', null, null, null,
                              tollgate.refusals_for(p_principals, p_organizations), p_principals, null, false) h;
end
$$;
grant execute on function tollgate.release_holds(text[], text[], text[]) to tollgate_api;
