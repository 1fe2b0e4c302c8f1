-- Jobs that should have ended by now: admitted ones whose hold has lapsed, and begun ones past their time budget. Oldest
-- first, a page at a time. Reads only: the sweep asks Temporal before it settles any.
create or replace function tollgate.find_orphaned_jobs(p_after timestamptz, p_after_job text, p_limit integer)
  returns table (organization_id text, job_id text, state text, created_at timestamptz)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
  select j.organization_id, j.id, j.state, j.created_at
    from tollgate.jobs j
    join tollgate.holds h on h.organization_id = j.organization_id and h.id = j.hold_id
   where j.ended_at is null
     and (j.created_at, j.id) > (p_after, p_after_job)
     and case j.state
           when 'admitted' then h.expires_at <= clock_timestamp()
           else j.began_at + j.time_budget <= clock_timestamp()
         end
   order by j.created_at, j.id
   limit p_limit
$$;
grant execute on function tollgate.find_orphaned_jobs(timestamptz, text, integer) to tollgate_worker;
