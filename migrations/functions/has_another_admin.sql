-- Whether an organization has an admin beside this user. Whoever decides by it holds the organization's lock. Reads only.
create or replace function tollgate.has_another_admin(p_organization text, p_user text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select exists (
    select from public.user_profiles p
     where p.organization_id = p_organization and p.id::text <> p_user and p.role::text = 'admin')
$$;
