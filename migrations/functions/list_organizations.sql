-- Organizations by id, behind p_after where it is given; of p_search those whose id begins with it or whose name has it
-- somewhere, in upper or lower case. For operators: shows nothing to anybody else. Reads only, and for a search all of them.
create or replace function tollgate.list_organizations(p_actor text, p_search text, p_after text, p_limit integer)
  returns table (id text, name text, plan text, mode text, time_zone text, created_at timestamptz, suspended_since timestamptz)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select o.id, coalesce(o.name, o.id), o.plan, tollgate.mode_of(o.id), coalesce(c.time_zone, 'UTC'), c.anchor, s.since
    from public.organizations o
    left join tollgate.billing_cycles c on c.organization_id = o.id
    left join tollgate.suspensions s on s.organization_id = o.id
   where tollgate.is_operator(p_actor)
     and (p_after is null or o.id > p_after)
     and (p_search is null or starts_with(o.id, p_search) or position(lower(p_search) in lower(o.name)) > 0)
   order by o.id
   limit p_limit
$$;
grant execute on function tollgate.list_organizations(text, text, text, integer) to tollgate_api;
