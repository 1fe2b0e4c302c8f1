-- Lines of an organization's usage log from p_from up to p_to (exclusive), in the order of (created_at, id) or, p_is_newest, the other way
-- round, after the line (p_after_at, p_after_id). A null where a bound or filter is not set. Runs with its caller's rights and
-- policies. Reads only, along the index (organization_id, created_at); locks nothing.
create or replace function tollgate.list_usage(
  p_organization text, p_is_newest boolean, p_from timestamptz, p_to timestamptz, p_after_at timestamptz, p_after_id bigint,
  p_feature text, p_token_type text, p_user text, p_key text, p_limit integer
) returns setof public.ai_token_usage_log
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
begin
  if p_is_newest then
    return query
      select l.*
        from public.ai_token_usage_log l
       where l.organization_id = p_organization
         and l.created_at >= coalesce(p_from, '-infinity') and l.created_at < coalesce(p_to, 'infinity')
         and (l.created_at, l.id) < (coalesce(p_after_at, 'infinity'), coalesce(p_after_id, 0))
         and (p_feature is null or l.feature_used = p_feature) and (p_token_type is null or l.token_type = p_token_type)
         and (p_user is null or l.user_id = p_user) and (p_key is null or l.principal = 'key:' || p_key)
       order by l.created_at desc, l.id desc
       limit p_limit;
  else
    return query
      select l.*
        from public.ai_token_usage_log l
       where l.organization_id = p_organization
         and l.created_at >= coalesce(p_from, '-infinity') and l.created_at < coalesce(p_to, 'infinity')
         and (l.created_at, l.id) > (coalesce(p_after_at, '-infinity'), coalesce(p_after_id, 0))
         and (p_feature is null or l.feature_used = p_feature) and (p_token_type is null or l.token_type = p_token_type)
         and (p_user is null or l.user_id = p_user) and (p_key is null or l.principal = 'key:' || p_key)
       order by l.created_at, l.id
       limit p_limit;
  end if;
end
$$;
grant execute on function tollgate.list_usage(text, boolean, timestamptz, timestamptz, timestamptz, bigint, text, text, text, text, integer) to tollgate_api;
