-- Charges open holds or gives them back. A capture charges p_amounts tokens of each (null: all that is open) and, where
-- p_is_last says so, ends the hold and returns the rest; a release returns everything that is not charged. p_metadata is what
-- the usage log says of a charge. A job's hold is ended by the job's own functions only (p_of_jobs). A hold ends once; a row
-- that comes later gets the recorded outcome.
-- Plain rows (a last capture within the hold, or a release) are written together, one statement for each table. Rows with a
-- key, above what is held, or for one hold twice go one by one after them (tollgate.end_hold).
-- Outcomes, in the order of decision: domain/refusals.ts, HOLD_END_REFUSALS.
-- Locks: the balances of the holds, by tollgate.lock_balances.
-- A second run finds the hold ended: the same verb answers its recorded end with is_repeat, the other one is refused.
create or replace function tollgate.end_holds(
  p_organizations text[],
  p_hold_ids      text[],
  p_verb          text,
  p_amounts       bigint[],
  p_keys          text[],
  p_is_last       boolean[],
  p_refusals      text[],
  p_actors        text[],
  p_metadata      jsonb[],
  p_of_jobs       boolean
) returns table (ordinal integer, outcome text, is_repeat boolean, charge_id text, captured bigint, returned bigint, captured_in_all bigint,
                 token_type text, required bigint, available bigint)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_count     integer := coalesce(cardinality(p_hold_ids), 0);
  v_now       timestamptz;
  v_types     text[];
  v_row       record;
  v_end       record;
  v_charge    bigint;
  v_p         integer;
  -- What was decided, by position.
  v_one_by_one integer[] := '{}';
  v_is_ended  boolean[] := array_fill(false, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_charges   bigint[]  := array_fill(null::bigint, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_captured  bigint[]  := array_fill(null::bigint, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_amounts   bigint[]  := array_fill(null::bigint, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_ids       text[]    := array_fill(null::text, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_features  text[]    := array_fill(null::text, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_holders   text[]    := array_fill(null::text, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_job_ids   text[]    := array_fill(null::text, array[coalesce(cardinality(p_hold_ids), 0)]);
  v_movements tollgate.movement[];
  v_expiries  tollgate.movement[];
begin
  v_types := tollgate.types_of_holds(p_organizations, p_hold_ids, p_refusals);
  v_now := tollgate.lock_balances(p_organizations, v_types);

  for v_row in
    select u.position::integer as position, u.amount, u.key, u.is_last, u.refusal,
           h.state, h.amount as held, h.captured, h.feature, h.principal, h.job_id,
           count(*) over (partition by u.organization_id collate "C", u.hold_id collate "C") > 1 as is_twice
      from unnest(p_organizations, p_hold_ids, p_amounts, p_keys, p_is_last, p_refusals, v_types)
             with ordinality as u (organization_id, hold_id, amount, key, is_last, refusal, token_type, position)
      left join lateral (
        select l.state, l.amount, l.captured, l.feature, l.principal, l.job_id
          from tollgate.holds l
         -- A hold that came up after the look-up above stands on a balance that is not locked here: not known yet.
         where l.organization_id = u.organization_id and l.id = u.hold_id and u.token_type is not null
        offset 0) h on true
     order by u.position
  loop
    v_p := v_row.position;
    ordinal := v_p; is_repeat := false; charge_id := null; captured := 0; returned := 0; captured_in_all := 0;
    if v_row.refusal is not null or v_row.state is null then
      outcome := coalesce(v_row.refusal, 'hold_unknown');
      return next;
      continue;
    elsif (v_row.job_id is not null) <> p_of_jobs then
      outcome := 'hold_of_a_job';
      return next;
      continue;
    end if;

    v_charge := case when p_verb = 'capture' then coalesce(v_row.amount, v_row.held - v_row.captured) else 0 end;
    if v_row.state <> 'held' or v_row.is_twice or v_row.key is not null or v_row.captured > 0 or v_row.is_last is false
       or v_charge > v_row.held or v_charge < 0 or (v_charge = 0 and p_verb = 'capture')
    then
      v_one_by_one := v_one_by_one || v_p;
      continue;
    end if;

    v_is_ended[v_p] := true; v_charges[v_p] := v_charge; v_amounts[v_p] := v_row.held;
    v_features[v_p] := v_row.feature; v_holders[v_p] := v_row.principal; v_job_ids[v_p] := v_row.job_id;
    outcome := case when p_verb = 'capture' then 'captured' else 'released' end;
    charge_id := case when v_charge > 0 then p_hold_ids[v_p] || '.1' end;
    captured := v_charge; returned := v_row.held - v_charge; captured_in_all := v_charge;
    return next;
  end loop;

  update tollgate.holds h
     set state = case when p_verb = 'capture' then 'captured' else 'released' end,
         captured = u.charge,
         ended_at = v_now
    from unnest(p_organizations, p_hold_ids, v_charges, v_is_ended) as u (organization_id, hold_id, charge, is_ended)
   where u.is_ended and h.organization_id = u.organization_id and h.id = u.hold_id and h.state = 'held';

  if p_verb = 'capture' then
    insert into public.ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, metadata, created_at, token_type, charge_id, principal)
    select u.organization_id, case when left(u.holder, 5) = 'user:' then substr(u.holder, 6) end, u.feature, u.charge,
           case when u.job_id is null then coalesce(u.metadata, '{}') else coalesce(u.metadata, '{}') || jsonb_build_object('jobId', u.job_id) end,
           v_now, u.token_type, u.hold_id || '.1', u.holder
      from unnest(p_organizations, p_hold_ids, v_features, v_charges, v_types, v_holders, v_job_ids, p_metadata, v_is_ended)
             with ordinality as u (organization_id, hold_id, feature, charge, token_type, holder, job_id, metadata, is_ended, position)
     where u.is_ended
     order by u.position;
  end if;

  if exists (select from unnest(v_is_ended, v_charges, v_amounts) as u (is_ended, charge, amount) where u.is_ended and u.charge < u.amount) then
    select tollgate.return_slices(array_agg(u.organization_id), array_agg(u.hold_id), array_agg(u.charge), array_agg(u.amount), array_agg(u.actor),
                                  array_fill(v_now, array[count(*)::integer]))
      into v_expiries
      from unnest(p_organizations, p_hold_ids, v_charges, v_amounts, p_actors, v_is_ended) as u (organization_id, hold_id, charge, amount, actor, is_ended)
     where u.is_ended and u.charge < u.amount;
  end if;

  select array_agg(row(u.organization_id, u.token_type, m.kind, 'held', m.to_account, m.amount, u.hold_id, null, u.actor, v_now, null, m.open_holds)::tollgate.movement
                   order by u.position, m.kind)
    into v_movements
    from unnest(p_organizations, v_types, p_hold_ids, v_charges, v_amounts, p_actors, v_is_ended)
           with ordinality as u (organization_id, token_type, hold_id, charge, amount, actor, is_ended, position)
   -- The last of them ends it.
   cross join lateral (values ('capture', 'consumed', u.charge, case when u.charge = u.amount then -1 else 0 end),
                              ('release', 'available', u.amount - u.charge, -1)) as m (kind, to_account, amount, open_holds)
   where u.is_ended and m.amount > 0;
  perform tollgate.post_movements(v_movements || v_expiries);

  foreach v_p in array v_one_by_one loop
    ordinal := v_p;
    select e.* into strict v_end
      from tollgate.end_hold(p_organizations[v_p], p_hold_ids[v_p], p_verb, p_amounts[v_p], p_keys[v_p], p_is_last[v_p], p_actors[v_p], p_metadata[v_p], v_now) e;
    outcome := v_end.outcome; is_repeat := v_end.is_repeat; charge_id := v_end.charge_id;
    captured := v_end.captured; returned := v_end.returned; captured_in_all := v_end.captured_in_all;
    token_type := v_types[v_p]; required := v_end.required; available := v_end.available;
    return next;
  end loop;
end
$$;
