-- Who keys are, by their hashes, for arrays: an indexed read each. No row means unknown, revoked or over; the caller must not tell
-- which. Reads only; locks nothing. In plpgsql because it keeps its plan.
create or replace function tollgate.authenticate_keys(p_key_hashes bytea[])
  returns table (ordinal integer, id text, organization_id text, scopes text[])
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  return query
    select u.position::integer, k.id, k.organization_id, k.scopes
      from unnest(p_key_hashes) with ordinality as u (key_hash, position)
     cross join lateral (
       select a.id, a.organization_id, a.scopes
         from tollgate.api_keys a
        where a.key_hash = u.key_hash and a.revoked_at is null and (a.expires_at is null or a.expires_at > clock_timestamp())
       offset 0) k;
end
$$;
grant execute on function tollgate.authenticate_keys(bytea[]) to tollgate_api;
