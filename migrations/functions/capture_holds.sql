-- The hold lane, for arrays: charges tokens of open holds (null: all of a hold) and returns the rest.
-- Each row's principal is checked against its organization (see tollgate.end_holds for locks and for why a second run is harmless).
create or replace function tollgate.capture_holds(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[],
  p_amounts       bigint[]
) returns table (ordinal integer, outcome text, is_repeat boolean, captured bigint, returned bigint)
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  select h.ordinal, h.outcome, h.is_repeat, h.captured, h.returned
    from tollgate.end_holds(p_organizations, p_hold_ids, 'capture', p_amounts,
                            tollgate.refusals_for(p_principals, p_organizations), p_principals,
                            array_fill(null::jsonb, array[cardinality(p_hold_ids)]), false) h
   order by h.ordinal
$$;
grant execute on function tollgate.capture_holds(text[], text[], text[], bigint[]) to tollgate_api;
