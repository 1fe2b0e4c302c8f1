-- The keys of the organizations that the transaction has named, without their hashes: what a policy would show of the table, whose
-- hashes no service may read. Reads only.
create or replace function tollgate.tenant_keys()
  returns table (
    id text, organization_id text, name text, prefix text, scopes text[], created_at timestamptz, expires_at timestamptz, revoked_at timestamptz,
    last_used_at timestamptz, replaced_by text
  )
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select k.id, k.organization_id, k.name, k.prefix, k.scopes, k.created_at, k.expires_at, k.revoked_at, k.last_used_at, k.replaced_by
    from tollgate.api_keys k
   where k.organization_id = any (tollgate.current_organizations())
$$;
grant execute on function tollgate.tenant_keys() to tollgate_api;
