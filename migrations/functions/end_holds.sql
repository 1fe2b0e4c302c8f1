-- Ends open holds: a capture charges p_amounts tokens of each (null: all of it) and returns the rest to its grants, a
-- release returns everything. p_metadata is what the usage log says of a capture beside our own words. A job's hold is ended by the job's own functions only (p_of_jobs). A hold ends once; a row
-- that comes later gets the recorded outcome.
-- Locks: the balances of the holds, by tollgate.lock_balances.
-- A second run finds the hold ended: the same verb answers its recorded end with is_repeat, the other one is refused.
create or replace function tollgate.end_holds(
  p_organizations text[],
  p_hold_ids      text[],
  p_verb          text,
  p_amounts       bigint[],
  p_refusals      text[],
  p_actors        text[],
  p_metadata      jsonb[],
  p_of_jobs       boolean
) returns table (ordinal integer, outcome text, is_repeat boolean, captured bigint, returned bigint)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_now       timestamptz;
  v_types     text[];
  v_row       record;
  v_hold      tollgate.holds;
  v_charge    bigint;
  v_movements tollgate.movement[] := '{}';
begin
  -- Null where there is no such hold, or the row is refused anyway.
  select array_agg(h.token_type order by u.position) into v_types
    from unnest(p_organizations, p_hold_ids, p_refusals) with ordinality as u (organization_id, hold_id, refusal, position)
    left join tollgate.holds h on h.organization_id = u.organization_id and h.id = u.hold_id and u.refusal is null;

  v_now := tollgate.lock_balances(
    (select array_agg(u.organization_id order by u.position)
       from unnest(p_organizations, v_types) with ordinality as u (organization_id, token_type, position)
      where u.token_type is not null),
    array_remove(v_types, null));

  for v_row in
    select u.position::integer as position, u.organization_id, u.hold_id, u.amount, u.refusal, u.actor, u.metadata
      from unnest(p_organizations, p_hold_ids, p_amounts, p_refusals, p_actors, p_metadata)
             with ordinality as u (organization_id, hold_id, amount, refusal, actor, metadata, position)
     order by u.position
  loop
    ordinal := v_row.position; is_repeat := false; captured := 0; returned := 0;
    if v_row.refusal is not null then
      outcome := v_row.refusal;
      return next;
      continue;
    end if;

    select h.* into v_hold
      from tollgate.holds h
     where h.organization_id = v_row.organization_id and h.id = v_row.hold_id;
    -- A hold that came up after the look-up above stands on a balance that is not locked here: not known yet.
    if not found or v_types[v_row.position] is null then
      outcome := 'hold_unknown';
      return next;
      continue;
    end if;

    if (v_hold.job_id is not null) <> p_of_jobs then
      outcome := 'hold_of_a_job';
      return next;
      continue;
    end if;

    v_charge := case when p_verb = 'capture' then coalesce(v_row.amount, v_hold.amount) else 0 end;

    if v_hold.state <> 'held' then
      captured := v_hold.captured; returned := v_hold.amount - v_hold.captured;
      is_repeat := (p_verb = 'capture' and v_hold.state = 'captured' and v_hold.captured = v_charge)
                or (p_verb = 'release' and v_hold.state in ('released', 'lapsed'));
      outcome := case when is_repeat then v_hold.state else 'hold_' || v_hold.state end;
      return next;
      continue;
    end if;
    if p_verb = 'capture' and (v_charge <= 0 or v_charge > 9007199254740991) then
      outcome := 'amount_invalid';
      return next;
      continue;
    end if;
    if v_charge > v_hold.amount then
      outcome := 'amount_above_hold';
      return next;
      continue;
    end if;

    update tollgate.holds h
       set state = case when p_verb = 'capture' then 'captured' else 'released' end,
           captured = v_charge,
           ended_at = v_now
     where h.organization_id = v_hold.organization_id and h.id = v_hold.id and h.state = 'held';

    if v_charge > 0 then
      v_movements := v_movements
        || row(v_hold.organization_id, v_hold.token_type, 'capture', 'held', 'consumed', v_charge, v_hold.id, null, v_row.actor, v_now)::tollgate.movement;
      insert into public.ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, metadata, created_at)
      values (v_hold.organization_id, substring(v_hold.principal from '^user:(.*)$'), v_hold.feature, v_charge,
              (coalesce(v_row.metadata, '{}') - array['holdId', 'jobId', 'principal', 'debt'])
                || jsonb_strip_nulls(jsonb_build_object('holdId', v_hold.id, 'jobId', v_hold.job_id, 'principal', v_hold.principal)), v_now);
    end if;
    if v_charge < v_hold.amount then
      v_movements := v_movements
        || row(v_hold.organization_id, v_hold.token_type, 'release', 'held', 'available', v_hold.amount - v_charge, v_hold.id, null, v_row.actor, v_now)::tollgate.movement
        || tollgate.return_to_grants(v_hold.organization_id, v_hold.token_type, v_hold.id, v_hold.grant_ids, v_hold.grant_amounts, v_charge, v_row.actor, v_now);
      -- A grant that was empty, or that came back to life, has an end that the row must not miss.
      update tollgate.balances b
         set next_change_at = e.expires_at
        from (select min(g.expires_at) as expires_at
                from tollgate.grants g
               where g.organization_id = v_hold.organization_id and g.id = any (v_hold.grant_ids) and g.remaining > 0) e
       where b.organization_id = v_hold.organization_id and b.token_type = v_hold.token_type
         and b.next_change_at > e.expires_at;
    end if;

    outcome := case when p_verb = 'capture' then 'captured' else 'released' end;
    captured := v_charge; returned := v_hold.amount - v_charge;
    return next;
  end loop;

  perform tollgate.post_movements(v_movements);
end
$$;
