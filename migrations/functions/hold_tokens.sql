-- The hold lane's first step, for arrays: each row's principal is checked against its organization, then the rows that
-- may are placed (see tollgate.place_holds for locks and for why a second run is harmless). A row alone tries the short way first.
create or replace function tollgate.hold_tokens(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[],
  p_features      text[],
  p_amounts       bigint[],
  p_lifetimes     interval[]
) returns table (ordinal integer, outcome text, is_repeat boolean, token_type text, amount bigint, available bigint, expires_at timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_refusals text[] := tollgate.refusals_for(p_principals, p_organizations);
begin
  if cardinality(p_hold_ids) = 1 and v_refusals[1] is null then
    select l.token_type, l.available, l.expires_at into token_type, available, expires_at
      from tollgate.place_lone_hold(p_organizations[1], p_hold_ids[1], p_features[1], p_amounts[1], p_lifetimes[1], p_principals[1]) l;
    if found then
      ordinal := 1; outcome := 'held'; is_repeat := false; amount := p_amounts[1];
      return next;
      return;
    end if;
  end if;
  return query
    select h.ordinal, h.outcome, h.is_repeat, h.token_type, h.amount, h.available, h.expires_at
      from tollgate.place_holds(p_organizations, p_hold_ids, p_features, null, p_amounts, p_lifetimes, p_principals, null, v_refusals, 'hold') h;
end
$$;
grant execute on function tollgate.hold_tokens(text[], text[], text[], text[], bigint[], interval[]) to tollgate_api;
