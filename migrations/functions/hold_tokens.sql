-- The hold lane's first step, for arrays: each row's principal is checked against its organization, then the rows that
-- may are placed (see tollgate.place_holds for locks and for why a second run is harmless).
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
begin
  return query
    select h.ordinal, h.outcome, h.is_repeat, h.token_type, h.amount, h.available, h.expires_at
      from tollgate.place_holds(p_organizations, p_hold_ids, p_features, null, p_amounts, p_lifetimes, p_principals, null,
                                tollgate.refusals_for(p_principals, p_organizations), true) h;
end
$$;
grant execute on function tollgate.hold_tokens(text[], text[], text[], text[], bigint[], interval[]) to tollgate_api;
