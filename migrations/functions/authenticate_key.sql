-- Who a key is, by its hash: one indexed read. No row means unknown, revoked or over; the caller must not tell which.
-- Called by versions before authenticate_keys only.
create or replace function tollgate.authenticate_key(p_key_hash bytea)
  returns table (id text, organization_id text, scopes text[])
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select k.id, k.organization_id, k.scopes
    from tollgate.api_keys k
   where k.key_hash = p_key_hash
     and k.revoked_at is null
     and (k.expires_at is null or k.expires_at > clock_timestamp())
$$;
grant execute on function tollgate.authenticate_key(bytea) to tollgate_api;
