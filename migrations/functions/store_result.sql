-- Arrow: running → delivered. From here on the work is charged, whatever happens to whoever stored it.
-- Outcomes: stored · delivered (a result is stored already; the first one stays) · refused (the job has ended otherwise;
-- this result is dropped) · job_unknown.
-- Locks: the job.
-- A second run finds the stored result and leaves it.
create or replace function tollgate.store_result(p_organization text, p_job text, p_result jsonb, p_usage jsonb)
  returns table (outcome text, state text)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
begin
  update tollgate.jobs j
     set state = 'delivered', result = p_result, usage = p_usage, delivered_at = clock_timestamp()
   where j.organization_id = p_organization and j.id = p_job and j.state = 'running';
  if found then
    outcome := 'stored'; state := 'delivered';
    return next;
    return;
  end if;
  select j.state into state
    from tollgate.jobs j
   where j.organization_id = p_organization and j.id = p_job;
  outcome := case when not found then 'job_unknown' when state in ('delivered', 'charged') then 'delivered' else 'refused' end;
  return next;
end
$$;
grant execute on function tollgate.store_result(text, text, jsonb, jsonb) to tollgate_worker;
