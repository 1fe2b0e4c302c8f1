-- Arrow: running → refunded. Releases the hold. Refused once a result is stored: that work is charged.
-- Outcomes: refunded · job_delivered (commit it instead; also once charged) · not_running · job_ended · job_unknown.
-- Locks: the job, then the balance.
-- A second run finds the job refunded and answers that, with the code of the first.
create or replace function tollgate.refund_job(p_organization text, p_job text, p_code text)
  returns table (outcome text, is_repeat boolean, tokens bigint, code text)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job tollgate.jobs;
  v_end record;
begin
  is_repeat := false;
  select j.* into v_job
    from tollgate.jobs j
   where j.organization_id = p_organization and j.id = p_job
     for no key update;
  if not found then
    outcome := 'job_unknown';
    return next;
    return;
  end if;
  tokens := v_job.tokens;
  if v_job.state <> 'running' then
    is_repeat := v_job.state = 'refunded'; code := v_job.end_code;
    outcome := case
      when v_job.state = 'refunded' then 'refunded'
      when v_job.state in ('delivered', 'charged') then 'job_delivered'
      when v_job.state = 'admitted' then 'not_running'
      else 'job_ended'
    end;
    return next;
    return;
  end if;

  -- Released, or lapsed by itself: either way the tokens are back.
  select h.* into strict v_end
    from tollgate.end_holds(array[v_job.organization_id], array[v_job.hold_id], 'release', array[null::bigint], array[null::text], array[true], array[null::text],
                            array['job:' || v_job.id], array[null::jsonb], true) h;
  if v_end.outcome not in ('released', 'lapsed') then
    raise exception 'tollgate: the hold of running job % is %', v_job.id, v_end.outcome;
  end if;

  update tollgate.jobs j
     set state = 'refunded', end_code = p_code, ended_at = clock_timestamp()
   where j.organization_id = v_job.organization_id and j.id = v_job.id;
  insert into tollgate.outbox (organization_id, kind, subject_id, content)
  values (v_job.organization_id, 'job_ended', v_job.id, jsonb_build_object('state', 'refunded', 'code', p_code));
  outcome := 'refunded'; code := p_code;
  return next;
end
$$;
grant execute on function tollgate.refund_job(text, text, text) to tollgate_worker;
