-- Arrow: admitted → running, or admitted → refused. Extends the hold to the job's time budget and a day more; takes it
-- anew if it had lapsed; refuses the job if it cannot be taken.
-- Outcomes: held (running, also on a repeat and when the result is stored already) · refused (with the state and the code) ·
-- job_unknown.
-- Locks: the job, then the balance.
-- A second run finds the job running, or ended, and answers that.
create or replace function tollgate.begin_job(p_organization text, p_job text)
  returns table (outcome text, state text, code text, feature text, tokens bigint, time_budget_ms bigint)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_job  tollgate.jobs;
  v_now  timestamptz;
  v_hold record;
begin
  select j.* into v_job
    from tollgate.jobs j
   where j.organization_id = p_organization and j.id = p_job
     for no key update;
  if not found then
    outcome := 'job_unknown';
    return next;
    return;
  end if;
  feature := v_job.feature; tokens := v_job.tokens;
  time_budget_ms := (extract(epoch from v_job.time_budget) * 1000)::bigint;

  if v_job.state = 'admitted' then
    v_now := tollgate.lock_balances(array[v_job.organization_id], array[v_job.token_type]);

    update tollgate.holds h
       -- Never earlier than it was: next_change_at stays right.
       set expires_at = greatest(h.expires_at, v_now + v_job.time_budget + interval '24 hours')
     where h.organization_id = v_job.organization_id and h.id = v_job.hold_id and h.state = 'held';
    if not found then
      select h.* into strict v_hold
        from tollgate.place_holds(array[v_job.organization_id], array['again:' || v_job.id], array[v_job.feature], array[v_job.token_type],
                                  array[v_job.tokens], array[v_job.time_budget + interval '24 hours'], array[v_job.principal], array[v_job.id],
                                  array[null::text], 'again') h;
      if v_hold.outcome <> 'held' then
        update tollgate.jobs j
           set state = 'refused', end_code = v_hold.outcome, ended_at = v_now
         where j.organization_id = v_job.organization_id and j.id = v_job.id;
        insert into tollgate.outbox (organization_id, kind, subject_id, content)
        values (v_job.organization_id, 'job_ended', v_job.id, jsonb_build_object('state', 'refused', 'code', v_hold.outcome));
        outcome := 'refused'; state := 'refused'; code := v_hold.outcome;
        return next;
        return;
      end if;
      v_job.hold_id := 'again:' || v_job.id;
    end if;

    update tollgate.jobs j
       set state = 'running', began_at = v_now, hold_id = v_job.hold_id
     where j.organization_id = v_job.organization_id and j.id = v_job.id;
    outcome := 'held';
  elsif v_job.state in ('running', 'delivered', 'charged') then
    outcome := 'held';
  else
    outcome := 'refused'; state := v_job.state; code := coalesce(v_job.end_code, 'job_' || v_job.state);
  end if;
  return next;
end
$$;
grant execute on function tollgate.begin_job(text, text) to tollgate_worker;
