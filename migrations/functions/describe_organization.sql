-- An organization as it is shown to those who belong to it. In here because calendars have no policy for tenants; shows nothing
-- of an organization that is not a tenant that the caller has named. created_at is since when its tokens are counted; null: not
-- yet. Reads only.
create or replace function tollgate.describe_organization(p_organization text)
  returns table (id text, name text, plan text, mode text, time_zone text, created_at timestamptz, suspended_since timestamptz)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select o.id, coalesce(o.name, o.id), o.plan, tollgate.mode_of(o.id), coalesce(c.time_zone, 'UTC'), c.anchor, s.since
    from public.organizations o
    left join tollgate.billing_cycles c on c.organization_id = o.id
    left join tollgate.suspensions s on s.organization_id = o.id
   where o.id = p_organization and o.id = any (tollgate.current_organizations())
$$;
grant execute on function tollgate.describe_organization(text) to tollgate_api;
