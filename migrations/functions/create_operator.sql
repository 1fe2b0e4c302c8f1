-- Books an operator by his credential's hash; the credential itself is never seen here. For the owner of the database.
-- A repeated id is refused by the primary key.
create or replace function tollgate.create_operator(p_id text, p_name text, p_credential_hash bytea, p_expires_at timestamptz)
  returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  insert into tollgate.operators (id, name, credential_hash, expires_at) values (p_id, p_name, p_credential_hash, p_expires_at)
$$;
