-- The hold lane, for arrays: charges tokens of open holds (null: all that is open). A last capture ends the hold and returns
-- the rest; one that is not the last needs a key, under which a repeat is known.
-- Each row's principal is checked against its organization (see tollgate.end_holds for locks and for why a
-- second run is harmless). A row alone tries the short way first.
create or replace function tollgate.capture_holds(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[],
  p_amounts       bigint[],
  p_keys          text[],
  p_is_last       boolean[]
) returns table (ordinal integer, outcome text, is_repeat boolean, charge_id text, captured bigint, returned bigint, captured_in_all bigint,
                 token_type text, required bigint, available bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_refusals text[] := tollgate.refusals_to_end(p_principals, p_organizations, p_hold_ids);
begin
  if cardinality(p_hold_ids) = 1 and v_refusals[1] is null and p_keys[1] is null and coalesce(p_is_last[1], true) then
    select l.captured, l.returned into captured, returned
      from tollgate.end_lone_hold(p_organizations[1], p_hold_ids[1], 'capture', p_amounts[1], p_principals[1]) l;
    if found then
      ordinal := 1; outcome := 'captured'; is_repeat := false; captured_in_all := captured;
      charge_id := case when captured > 0 then p_hold_ids[1] || '.1' end;
      return next;
      return;
    end if;
  end if;
  return query
    select h.ordinal, h.outcome, h.is_repeat, h.charge_id, h.captured, h.returned, h.captured_in_all, h.token_type, h.required, h.available
      from tollgate.end_holds(p_organizations, p_hold_ids, 'capture', p_amounts, p_keys, p_is_last, v_refusals, p_principals, null, false) h;
end
$$;
grant execute on function tollgate.capture_holds(text[], text[], text[], bigint[], text[], boolean[]) to tollgate_api;
