-- Who may act: answers null for each row whose principal belongs to its organization, else 'not_a_member'. A principal is
-- 'user:ID' (a member by user_profiles) or 'key:ID' (a live key of that organization). Reads only; locks nothing.
-- In plpgsql because it keeps its plan: as an SQL function it was planned anew for each call, 130 µs of them.
create or replace function tollgate.refusals_for(p_principals text[], p_organizations text[])
  returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select array_agg(
             case when p.id is not null or k.id is not null then null else 'not_a_member' end
             order by u.position)
      from unnest(p_principals, p_organizations) with ordinality as u (principal, organization_id, position)
      left join public.user_profiles p
        on p.id::text = substring(u.principal from '^user:(.*)$') and p.organization_id = u.organization_id
      left join tollgate.api_keys k
        on k.id = substring(u.principal from '^key:(.*)$') and k.organization_id = u.organization_id
       and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp()));
end
$$;
