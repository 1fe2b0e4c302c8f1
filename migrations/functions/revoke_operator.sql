-- Ends an operator's credential at once; answers whether there was one that still worked. For the owner of the database.
-- A second run finds it revoked and changes nothing.
create or replace function tollgate.revoke_operator(p_id text) returns boolean
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  with revoked as (
    update tollgate.operators o set revoked_at = clock_timestamp() where o.id = p_id and o.revoked_at is null returning o.id
  )
  select exists (select from revoked)
$$;
