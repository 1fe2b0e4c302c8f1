-- Notes when somebody first asked for a job's cancellation. It moves no tokens and changes no state: the workflow decides
-- when the work is over. A second run keeps the first instant. Locks: the job.
create or replace function tollgate.request_cancellation(p_organization text, p_job text)
  returns table (state text)
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  update tollgate.jobs j
     set cancel_requested_at = coalesce(j.cancel_requested_at, clock_timestamp())
   where j.organization_id = p_organization and j.id = p_job and j.ended_at is null
  returning j.state
$$;
grant execute on function tollgate.request_cancellation(text, text) to tollgate_api;
