-- What an organization used, bucket by bucket (tollgate.usage_buckets) and group by group: charged less given back, what was given
-- back, and how many charges there were. One row for each bucket and group in which something was used; a null where a filter is
-- not set. Runs with its caller's rights and policies. Reads only, by the index (organization_id, created_at), in one pass;
-- locks nothing.
create or replace function tollgate.usage_series(
  p_organization text, p_from timestamptz, p_to timestamptz, p_starts timestamptz[], p_by text, p_feature text, p_token_type text, p_user text, p_key text
) returns table (bucket integer, grouped_by text, tokens bigint, refunded bigint, charges bigint)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select u.bucket, u.grouped_by, sum(u.tokens_deducted)::bigint, coalesce(- sum(u.tokens_deducted) filter (where u.tokens_deducted < 0), 0)::bigint,
         count(*) filter (where u.tokens_deducted > 0)
    from (select width_bucket(l.created_at, p_starts) as bucket,
                 case p_by when 'feature' then l.feature_used when 'tokenType' then l.token_type when 'user' then l.user_id
                           when 'key' then substring(l.principal from '^key:(.*)$') end as grouped_by,
                 l.tokens_deducted
            from public.ai_token_usage_log l
           where l.organization_id = p_organization and l.created_at >= p_from and l.created_at < p_to
             and (p_feature is null or l.feature_used = p_feature) and (p_token_type is null or l.token_type = p_token_type)
             and (p_user is null or l.user_id = p_user) and (p_key is null or l.principal = 'key:' || p_key)) u
   group by u.bucket, u.grouped_by
$$;
grant execute on function tollgate.usage_series(text, timestamptz, timestamptz, timestamptz[], text, text, text, text, text) to tollgate_api;
