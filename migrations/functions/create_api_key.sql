-- Books a key by its hash; the key itself is never seen here. A repeated id is refused by the primary key.
create or replace function tollgate.create_api_key(p_id text, p_organization text, p_name text, p_key_hash bytea, p_scopes text[])
  returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  insert into tollgate.api_keys (id, organization_id, name, key_hash, scopes)
  values (p_id, p_organization, p_name, p_key_hash, p_scopes)
$$;
