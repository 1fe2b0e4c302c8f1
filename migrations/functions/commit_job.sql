-- Arrow: delivered → charged. Captures the hold. If it had lapsed (a worker that was away for more than a day), the
-- delivered work is charged from what the balance has, and the rest becomes a debt: never lost, never twice.
-- Outcomes: charged (with the debt) · not_delivered · job_refunded · job_ended · job_unknown.
-- Locks: the job, then the balance.
-- A second run finds the job charged and answers that.
create or replace function tollgate.commit_job(p_organization text, p_job text)
  returns table (outcome text, is_repeat boolean, tokens bigint, debt bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job     tollgate.jobs;
  v_now     timestamptz;
  v_end     record;
  v_covered bigint;
  v_late_id text;
begin
  is_repeat := false; debt := 0;
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
  if v_job.state <> 'delivered' then
    is_repeat := v_job.state = 'charged'; debt := v_job.debt;
    outcome := case v_job.state
      when 'charged' then 'charged'
      when 'running' then 'not_delivered'
      when 'admitted' then 'not_delivered'
      when 'refunded' then 'job_refunded'
      else 'job_ended'
    end;
    return next;
    return;
  end if;

  v_now := tollgate.lock_balances(array[v_job.organization_id], array[v_job.token_type]);
  select h.* into strict v_end
    from tollgate.end_holds(array[v_job.organization_id], array[v_job.hold_id], 'capture', array[null::bigint], array[null::text], array[true], array[null::text],
                            array['job:' || v_job.id], array[null::jsonb], true) h;
  if v_end.outcome = 'hold_lapsed' then
    select least(b.available, v_job.tokens) into strict v_covered
      from tollgate.balances b
     where b.organization_id = v_job.organization_id and b.token_type = v_job.token_type;
    if v_covered > 0 then
      v_late_id := 'late:' || v_job.id;
      perform tollgate.place_holds(array[v_job.organization_id], array[v_late_id], array[v_job.feature], array[v_job.token_type],
                                   array[v_covered], array[interval '1 hour'], array[v_job.principal], array[v_job.id], array[null::text], 'late');
      select h.* into strict v_end
        from tollgate.end_holds(array[v_job.organization_id], array[v_late_id], 'capture', array[null::bigint], array[null::text], array[true], array[null::text],
                                array['job:' || v_job.id], array[null::jsonb], true) h;
    end if;
    debt := v_job.tokens - v_covered;
    if debt > 0 then
      -- After what the late hold booked: in a ledger effective_at never decreases.
      v_now := greatest(v_now, clock_timestamp());
      insert into tollgate.debts (organization_id, token_type, amount, open_amount, job_id, created_at)
      values (v_job.organization_id, v_job.token_type, debt, debt, v_job.id, v_now);
      perform tollgate.post_movements(array[
        row(v_job.organization_id, v_job.token_type, 'debt', 'debt', 'consumed', debt, v_job.hold_id, null, 'job:' || v_job.id, v_now, null, 0)::tollgate.movement]);
      insert into public.ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, metadata, created_at, token_type, charge_id, principal)
      values (v_job.organization_id, substring(v_job.principal from '^user:(.*)$'), v_job.feature, debt,
              jsonb_build_object('jobId', v_job.id), v_now, v_job.token_type, 'debt:' || v_job.id, v_job.principal);
    end if;
  end if;
  if v_end.outcome not in ('captured', 'hold_lapsed') then
    raise exception 'tollgate: the hold of delivered job % is %', v_job.id, v_end.outcome;
  end if;

  update tollgate.jobs j
     set state = 'charged', debt = commit_job.debt, ended_at = v_now
   where j.organization_id = v_job.organization_id and j.id = v_job.id;
  insert into tollgate.outbox (organization_id, kind, subject_id, content)
  values (v_job.organization_id, 'job_ended', v_job.id, jsonb_build_object('state', 'charged', 'tokens', v_job.tokens, 'debt', debt));
  outcome := 'charged';
  return next;
end
$$;
grant execute on function tollgate.commit_job(text, text) to tollgate_worker;
