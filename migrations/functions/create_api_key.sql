-- Books a key by its hash and the first characters of its secret, which name the mode of the organization; the secret itself is never
-- seen here. For the owner of the database. A repeated id is refused by the primary key.
create or replace function tollgate.create_api_key(p_id text, p_organization text, p_name text, p_key_hash bytea, p_prefix text, p_scopes text[])
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform tollgate.check_key_mode(p_organization, p_prefix);
  insert into tollgate.api_keys (id, organization_id, name, key_hash, prefix, scopes)
  values (p_id, p_organization, p_name, p_key_hash, p_prefix, p_scopes);
end
$$;
