-- Whether somebody may do what an organization's admins do: 'user:ID' with the role admin there, 'key:ID' of a live key of it
-- that has organization:write, or 'operator:ID' of one whose credential works, for any. Every such act asks this in its own
-- transaction, whatever the API asked before. Reads only; locks nothing.
create or replace function tollgate.may_administer(p_actor text, p_organization text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select case split_part(p_actor, ':', 1)
    when 'user' then exists (
      select from public.user_profiles p
       where p.id::text = substr(p_actor, 6) and p.organization_id = p_organization and p.role::text = 'admin')
    when 'key' then exists (
      select from tollgate.api_keys k
       where k.id = substr(p_actor, 5) and k.organization_id = p_organization and 'organization:write' = any (k.scopes)
         and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp()))
    when 'operator' then exists (
      select from tollgate.operators o
       where o.id = substr(p_actor, 10)
         and o.revoked_at is null and (o.expires_at is null or o.expires_at > clock_timestamp()))
    else false
  end
$$;
