-- Erases what organizations no longer keep (tollgate.retention_settings), organization by organization in the order of their ids,
-- after p_after (null: from the first): prompts and results of ended jobs, and idempotency records whose job has ended or who
-- have none. Oldest first. A call ends after p_limit organizations or p_limit rows. Answers one row: after which organization the
-- next page begins, whether this was the last, and how many organizations were done and prompts, results and records erased.
--
-- Of a job nothing else changes: its state, its charge and the ledger know nothing of its prompt. A key whose record is gone is
-- new again. Days are 24 hours, whatever the session's zone does in a night.
--
-- Locks: jobs and records, skipping those that somebody else holds, so it waits for nobody and nobody deadlocks with it; what it
-- skipped is found by the next run. Rows that are locked stay where they are, so their places (ctid) name them: by their keys PostgreSQL 15
-- would walk all that the organization keeps. A second run finds nothing: what is erased has left the indexes that it reads.
create or replace function tollgate.apply_retention(p_after text, p_limit integer)
  returns table (next_organization text, is_last boolean, organizations integer, inputs integer, results integer, records integer)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  v_now    constant timestamptz := clock_timestamp();
  v_left   integer := p_limit;
  v_count  integer;
  v_of     record;
begin
  is_last := false; organizations := 0; inputs := 0; results := 0; records := 0;
  next_organization := p_after;
  for v_of in
    select o.id, s.prompt_days, s.result_days, coalesce(s.idempotency_days, 90) as idempotency_days
      from public.organizations o
      left join tollgate.retention_settings s on s.organization_id = o.id
     where o.id > coalesce(p_after, '')
     order by o.id
     limit p_limit
  loop
    if v_of.prompt_days is not null then
      update tollgate.jobs j
         set input = null, input_erased_at = v_now
       where j.ctid = any (array(
           select d.ctid
             from tollgate.jobs d
            where d.organization_id = v_of.id and d.ended_at is not null and d.input_erased_at is null
              and d.ended_at < v_now - make_interval(hours => 24 * v_of.prompt_days)
            order by d.ended_at
            limit v_left
              for no key update skip locked));
      get diagnostics v_count = row_count;
      inputs := inputs + v_count; v_left := v_left - v_count;
    end if;

    if v_of.result_days is not null then
      update tollgate.jobs j
         set result = null, result_erased_at = v_now
       where j.ctid = any (array(
           select d.ctid
             from tollgate.jobs d
            where d.organization_id = v_of.id and d.state = 'charged' and d.result_erased_at is null
              and d.ended_at < v_now - make_interval(hours => 24 * v_of.result_days)
            order by d.ended_at
            limit v_left
              for no key update skip locked));
      get diagnostics v_count = row_count;
      results := results + v_count; v_left := v_left - v_count;
    end if;

    delete from tollgate.idempotency_records r
     where r.ctid = any (array(
         select d.ctid
           from tollgate.idempotency_records d
          where d.organization_id || '/' = v_of.id || '/' and d.created_at < v_now - make_interval(hours => 24 * v_of.idempotency_days)
            and not exists (select from tollgate.jobs j where j.organization_id = v_of.id and j.id = d.job_id and j.ended_at is null)
          order by d.created_at
          limit v_left
            for update of d skip locked));
    get diagnostics v_count = row_count;
    records := records + v_count; v_left := v_left - v_count;

    -- There may be more of this one: the next page begins with it again.
    if v_left = 0 then
      return next;
      return;
    end if;
    organizations := organizations + 1;
    next_organization := v_of.id;
  end loop;

  is_last := organizations < p_limit;
  return next;
end
$$;
grant execute on function tollgate.apply_retention(text, integer) to tollgate_worker;
