-- Arrow: admitted → withdrawn. The hold is released. When the workflow's start failed (p_code 'start_failed' or
-- 'never_started') the idempotency record goes too, so that a retry is a new job; when the caller cancelled, it stays,
-- so that a late repeat of the first request does not run what was cancelled.
-- Outcomes: withdrawn · job_running (the workflow won the race) · job_ended · job_unknown; state tells where it stands.
-- Locks: the idempotency record, the job, then the balance.
-- A second run finds the job withdrawn and answers that.
create or replace function tollgate.withdraw_job(p_organization text, p_job text, p_code text)
  returns table (outcome text, is_repeat boolean, state text)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job  tollgate.jobs;
  v_hold record;
begin
  is_repeat := false;
  perform 1
     from tollgate.idempotency_records r
    where r.organization_id = p_organization
      and r.key = (select j.idempotency_key from tollgate.jobs j where j.organization_id = p_organization and j.id = p_job)
      for update;
  select j.* into v_job
    from tollgate.jobs j
   where j.organization_id = p_organization and j.id = p_job
     for no key update;
  if not found then
    outcome := 'job_unknown';
    return next;
    return;
  end if;
  if v_job.state <> 'admitted' then
    is_repeat := v_job.state = 'withdrawn';
    outcome := case when is_repeat then 'withdrawn' when v_job.ended_at is null then 'job_running' else 'job_ended' end;
    state := v_job.state;
    return next;
    return;
  end if;

  -- Released, or lapsed by itself: either way the tokens are back.
  select h.* into strict v_hold
    from tollgate.end_holds(array[v_job.organization_id], array[v_job.hold_id], 'release', array[null::bigint], array[null::text], array[true], array[null::text],
                            array['job:' || v_job.id], array[null::jsonb], true) h;
  if v_hold.outcome not in ('released', 'lapsed') then
    raise exception 'tollgate: the hold of admitted job % is %', v_job.id, v_hold.outcome;
  end if;

  update tollgate.jobs j
     set state = 'withdrawn', end_code = p_code, ended_at = clock_timestamp()
   where j.organization_id = v_job.organization_id and j.id = v_job.id;
  if p_code <> 'cancelled' then
    delete from tollgate.idempotency_records r
     where r.organization_id = v_job.organization_id and r.key = v_job.idempotency_key and r.job_id = v_job.id;
  end if;
  insert into tollgate.outbox (organization_id, kind, subject_id, content)
  values (v_job.organization_id, 'job_ended', v_job.id, jsonb_build_object('state', 'withdrawn', 'code', p_code));
  outcome := 'withdrawn'; state := 'withdrawn';
  return next;
end
$$;
grant execute on function tollgate.withdraw_job(text, text, text) to tollgate_api, tollgate_worker;
