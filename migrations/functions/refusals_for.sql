-- Who may act: answers null for each row whose principal belongs to its organization, else 'not_a_member'. A principal is
-- 'user:ID' (a member by user_profiles) or 'key:ID' (a live key of that organization). Reads only; locks nothing.
-- In plpgsql because it keeps its plan: as an SQL function it was planned anew for each call, 130 µs of them.
-- Each pair is looked up once, however many rows name it.
create or replace function tollgate.refusals_for(p_principals text[], p_organizations text[])
  returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  if cardinality(p_principals) = 1 then
    if left(p_principals[1], 5) = 'user:' then
      perform from public.user_profiles p
        where p.id::text = substr(p_principals[1], 6) and p.organization_id = p_organizations[1];
    else
      perform from tollgate.api_keys k
        where k.id = substr(p_principals[1], 5) and left(p_principals[1], 4) = 'key:' and k.organization_id = p_organizations[1]
          and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp());
    end if;
    return array[case when found then null else 'not_a_member' end];
  end if;

  return (
    with pairs as (
      select u.principal, u.organization_id, u.position from unnest(p_principals, p_organizations) with ordinality as u (principal, organization_id, position)
    ), known as (
      select d.principal, d.organization_id,
             p.id is not null or k.id is not null as is_member
        from (select distinct u.principal, u.organization_id from pairs u) d
        left join public.user_profiles p
          on left(d.principal, 5) = 'user:' and p.id::text = substr(d.principal, 6) and p.organization_id = d.organization_id
        left join tollgate.api_keys k
          on left(d.principal, 4) = 'key:' and k.id = substr(d.principal, 5) and k.organization_id = d.organization_id
         and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp())
    )
    select array_agg(case when k.is_member then null else 'not_a_member' end order by u.position)
      from pairs u
      left join known k on k.principal = u.principal and k.organization_id = u.organization_id);
end
$$;
