-- What the operation needs to know of its job: feature, input, and whether there is still anything to do. Reads only.
create or replace function tollgate.job_to_run(p_organization text, p_job text)
  returns table (state text, feature text, input jsonb)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select j.state, j.feature, j.input
    from tollgate.jobs j
   where j.organization_id = p_organization and j.id = p_job
$$;
grant execute on function tollgate.job_to_run(text, text) to tollgate_worker;
