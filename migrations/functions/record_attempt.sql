-- Books what an attempt at the AI provider came to: once when it begins (outcome 'started'), once when it ends. A crashed
-- attempt stays 'started'. A second run writes the same row again; a finished row is not reopened.
create or replace function tollgate.record_attempt(
  p_organization text, p_job text, p_attempt integer, p_outcome text,
  p_model text, p_provider_request text, p_http_status integer, p_usage jsonb
) returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  insert into tollgate.job_attempts as a
         (organization_id, job_id, attempt, outcome, model, provider_request_id, http_status, usage, started_at, ended_at)
  values (p_organization, p_job, p_attempt, p_outcome, p_model, p_provider_request, p_http_status, p_usage,
          clock_timestamp(), case when p_outcome <> 'started' then clock_timestamp() end)
  on conflict (organization_id, job_id, attempt) do update
     set outcome = excluded.outcome, model = excluded.model, provider_request_id = excluded.provider_request_id,
         http_status = excluded.http_status, usage = excluded.usage, ended_at = excluded.ended_at
   where a.ended_at is null and excluded.ended_at is not null
$$;
grant execute on function tollgate.record_attempt(text, text, integer, text, text, text, integer, jsonb) to tollgate_worker;
