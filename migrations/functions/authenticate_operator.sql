-- Who an operator's credential is, by its hash: one indexed read. No row means unknown, revoked or over. Reads only.
create or replace function tollgate.authenticate_operator(p_credential_hash bytea)
  returns table (id text)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select o.id
    from tollgate.operators o
   where o.credential_hash = p_credential_hash
     and o.revoked_at is null
     and (o.expires_at is null or o.expires_at > clock_timestamp())
$$;
grant execute on function tollgate.authenticate_operator(bytea) to tollgate_api;
