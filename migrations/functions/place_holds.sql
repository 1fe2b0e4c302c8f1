-- Decides, row by row in the order given, which holds the balances can bear, and places those: a small hold still fits after
-- a large one was refused, and one bad row never fails its neighbours. What is decided is written with one statement for
-- each table.
-- p_token_types: null where the catalogue says what the feature is paid with; a job that was quoted a type names it. Where
-- the plan lets a feature fall back to other types and its own cannot bear the whole hold, the first one that can bears it.
-- p_refusals names rows that the caller has refused already. p_purpose says what they are for, and so what is asked:
--   hold    an app's: the suspension, the plan gate, the cap on open holds
--   job     one that is to be admitted, a row alone: these, and the cap on unended jobs
--   charge  a deduction, which ends in the same transaction: the suspension and the plan gate
--   again   of a job that was admitted, whose hold has lapsed: the suspension and the cap on open holds
--   late    of a job that has delivered: nothing, its charge is owed
-- Outcomes, in the order of decision: domain/refusals.ts, HOLD_REFUSALS.
-- Locks: every balance that may be touched, fallbacks too, by tollgate.lock_balances.
-- A second run with the same id, feature, amount and lifetime answers the hold's state with is_repeat; nothing moves.
create or replace function tollgate.place_holds(
  p_organizations text[],
  p_hold_ids      text[],
  p_features      text[],
  p_token_types   text[],
  p_amounts       bigint[],
  p_lifetimes     interval[],
  p_principals    text[],
  p_job_ids       text[],
  p_refusals      text[],
  p_purpose       text
) returns table (ordinal integer, outcome text, is_repeat boolean, token_type text, amount bigint, available bigint, expires_at timestamptz)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  -- Far beyond any use, and well within what a timestamp can bear: one absurd lifetime must not fail the batch.
  c_longest       constant interval := interval '366 days';
  c_largest       constant bigint   := 9007199254740991;
  v_now           timestamptz;
  v_latest        timestamptz;
  v_row           record;
  v_types         text[];
  v_may_fall_back boolean;
  v_lock_orgs     text[];
  v_lock_types    text[];
  -- The balances, by number.
  v_orgs          text[];
  v_kinds         text[];
  v_available     bigint[];
  v_in_plan       boolean[];
  v_limited       boolean[];
  v_suspended     boolean[];
  v_room          integer[];
  v_burn_orders   text[];
  -- Their live grants in burn order; those of balance n are v_first[n] to v_last[n].
  v_grant_numbers integer[];
  v_grant_ids     bigint[];
  v_left          bigint[];
  v_before        bigint[];
  v_first         integer[];
  v_last          integer[];
  -- What was decided, by position.
  v_outcomes      text[];
  v_is_repeat     boolean[];
  v_after         bigint[];
  v_until         timestamptz[];
  v_is_placed     boolean[];
  v_placed_for    integer[];
  v_took_id       bigint[];
  v_took_ids      text[];
  v_took_amounts  text[];
  v_counters      text[];
  v_count         integer := coalesce(cardinality(p_hold_ids), 0);
  v_n             integer;
  v_p             integer;
  v_g             integer;
  v_wanted        bigint;
  v_part          bigint;
  v_ids           text;
  v_amounts       text;
  v_limits        record;
  v_most_jobs     integer;
  v_jobs_are_full boolean := false;
  v_movements     tollgate.movement[];
begin
  select array_agg(coalesce(u.token_type, f.token_type) order by u.position),
         coalesce(bool_or(f.has_fallbacks and u.token_type is null), false)
    into v_types, v_may_fall_back
    from unnest(p_features, p_token_types) with ordinality as u (feature, token_type, position)
    left join tollgate.current_features f on f.feature = u.feature;

  select array_agg(u.organization_id), array_agg(u.token_type) into v_lock_orgs, v_lock_types
    from unnest(p_organizations, v_types, p_refusals) as u (organization_id, token_type, refusal)
   where u.refusal is null and u.token_type is not null and u.organization_id is not null;
  if v_may_fall_back then
    select v_lock_orgs || coalesce(array_agg(u.organization_id), '{}'), v_lock_types || coalesce(array_agg(f.token_type), '{}')
      into v_lock_orgs, v_lock_types
      from unnest(p_organizations, p_features, p_token_types, p_refusals) as u (organization_id, feature, token_type, refusal)
      join public.organizations o on o.id = u.organization_id
      join tollgate.current_fallbacks f on f.plan = o.plan and f.feature = u.feature
     where u.refusal is null and u.token_type is null;
  end if;
  v_now := tollgate.lock_balances(v_lock_orgs, v_lock_types);
  v_latest := v_now + c_longest;

  select array_agg(b.organization_id), array_agg(b.token_type), array_agg(b.available), array_agg(b.is_in_plan), array_agg(b.is_limited), array_agg(b.burn_order),
         array_agg(b.is_suspended), array_agg(b.most_open_holds - b.open_holds)
    into v_orgs, v_kinds, v_available, v_in_plan, v_limited, v_burn_orders, v_suspended, v_room
    from (select distinct u.organization_id, u.token_type from unnest(v_lock_orgs, v_lock_types) as u (organization_id, token_type)) k
   cross join lateral (
     select l.organization_id, l.token_type, l.available, l.is_in_plan, l.is_limited, l.burn_order, l.is_suspended, l.most_open_holds, l.open_holds
       from tollgate.balances l
      where l.organization_id = k.organization_id and l.token_type = k.token_type
     offset 0) b;

  select l.numbers, l.grant_ids, l.remaining into v_grant_numbers, v_grant_ids, v_left
    from tollgate.live_grants(v_orgs, v_kinds, v_burn_orders) l;
  v_before := v_left;
  v_first := array_fill(1, array[coalesce(cardinality(v_orgs), 0)]);
  v_last  := array_fill(0, array[coalesce(cardinality(v_orgs), 0)]);
  for v_g in 1..coalesce(cardinality(v_grant_ids), 0) loop
    v_n := v_grant_numbers[v_g];
    if v_last[v_n] = 0 then
      v_first[v_n] := v_g;
    end if;
    v_last[v_n] := v_g;
  end loop;

  if p_purpose = 'job' then
    -- Up to the cap only. Under the balance's lock, so that no job of its type is admitted beside this one unseen; of each other type
    -- at most one can be.
    v_most_jobs := coalesce((select r.most_open_jobs from tollgate.organization_rules r where r.organization_id = p_organizations[1]),
                            (select u.open_jobs from tollgate.usual_caps() u));
    select count(*) >= v_most_jobs into v_jobs_are_full
      from (select from tollgate.jobs j
             where j.organization_id || '/' = p_organizations[1] || '/' and j.ended_at is null
             limit v_most_jobs) j;
  end if;

  v_outcomes     := array_fill(null::text, array[v_count]);
  v_is_repeat    := array_fill(false, array[v_count]);
  v_after        := array_fill(null::bigint, array[v_count]);
  v_until        := array_fill(null::timestamptz, array[v_count]);
  v_is_placed    := array_fill(false, array[v_count]);
  v_placed_for   := array_fill(null::integer, array[v_count]);
  v_took_id      := array_fill(null::bigint, array[v_count]);
  v_took_ids     := array_fill(null::text, array[v_count]);
  v_took_amounts := array_fill(null::text, array[v_count]);
  v_counters     := array_fill(null::text, array[v_count]);

  for v_row in
    select u.position::integer as position, k.number::integer as number, u.organization_id, u.hold_id, u.feature, u.token_type, u.asked_type,
           u.amount, u.lifetime, u.principal, u.job_id, u.refusal,
           s.state, s.feature as seen_feature, s.amount as seen_amount, s.job_id as seen_job, s.expires_at as seen_until, s.lifetime_s as seen_lifetime,
           s.token_type as seen_type,
           first_value(u.position) over (partition by u.organization_id collate "C", u.hold_id collate "C" order by u.position)::integer as first_position
      from unnest(p_organizations, p_hold_ids, p_features, v_types, p_token_types, p_amounts, p_lifetimes, p_principals, p_job_ids, p_refusals)
             with ordinality as u (organization_id, hold_id, feature, token_type, asked_type, amount, lifetime, principal, job_id, refusal, position)
      left join unnest(v_orgs, v_kinds) with ordinality as k (organization_id, token_type, number)
        on k.organization_id = u.organization_id and k.token_type = u.token_type
      left join lateral (
        select h.state, h.feature, h.amount, h.job_id, h.expires_at, h.lifetime_s, h.token_type
          from tollgate.holds h
         where h.organization_id = u.organization_id and h.id = u.hold_id
        offset 0) s on true
     order by u.position
  loop
    v_p := v_row.position; v_n := v_row.number;

    if v_row.refusal is not null then
      v_outcomes[v_p] := v_row.refusal;
      continue;
    elsif v_n is null then
      -- No balance of that name could be locked: the organization is not there, or the feature is not.
      v_outcomes[v_p] := case when v_row.token_type is not null or not exists (select from public.organizations o where o.id = v_row.organization_id)
                              then 'organization_unknown'
                              when exists (select from tollgate.suspensions s where s.organization_id = v_row.organization_id)
                              then 'organization_suspended' else 'feature_unknown' end;
      continue;
    -- What was admitted before is answered as it was.
    elsif v_suspended[v_n] and v_row.state is null and p_purpose <> 'late' then
      v_outcomes[v_p] := 'organization_suspended';
      continue;
    -- Ids with a colon are the job functions' own, so no caller can be in their way.
    elsif v_row.hold_id is null or not (length(v_row.hold_id) <= 64 and v_row.hold_id ~ '^[A-Za-z0-9_-]+$' or coalesce(v_row.hold_id in ('again:' || v_row.job_id, 'late:' || v_row.job_id), false)) then
      v_outcomes[v_p] := 'id_invalid';
      continue;
    elsif v_row.amount is null or v_row.amount <= 0 or v_row.amount > c_largest then
      v_outcomes[v_p] := 'amount_invalid';
      continue;
    -- As instants: an interval counts a month as 30 days where it is compared, and as what it is where it is added.
    elsif v_row.lifetime is null or v_now + v_row.lifetime <= v_now or v_now + v_row.lifetime > v_latest then
      v_outcomes[v_p] := 'lifetime_invalid';
      continue;
    end if;

    -- Seen before: in an earlier call, or placed by an earlier row of this one. A job's hold is nobody else's repeat.
    if v_row.state is not null then
      v_after[v_p] := v_available[v_n];
      if v_row.seen_feature = v_row.feature
         and v_row.seen_amount - tollgate.grown_by(v_row.organization_id, v_row.hold_id) = v_row.amount
         and v_row.seen_job is not distinct from v_row.job_id
         and coalesce(v_row.seen_lifetime = ceil(date_part('epoch', v_row.lifetime)), true)
         and coalesce(v_row.seen_type = v_row.asked_type, true)
      then
        v_outcomes[v_p] := v_row.state; v_is_repeat[v_p] := true; v_until[v_p] := v_row.seen_until; v_types[v_p] := v_row.seen_type;
        -- Of the type that the hold stands on; null where the catalogue no longer leads to it.
        if v_row.seen_type <> v_kinds[v_n] then
          v_after[v_p] := (select k.available
                             from unnest(v_orgs, v_kinds, v_available) as k (organization_id, token_type, available)
                            where k.organization_id = v_row.organization_id and k.token_type = v_row.seen_type);
        end if;
      else
        v_outcomes[v_p] := 'id_reused';
      end if;
      continue;
    end if;
    v_g := v_placed_for[v_row.first_position];
    if v_g is not null then
      v_after[v_p] := v_available[v_n];
      if (p_features[v_g], p_amounts[v_g], p_lifetimes[v_g], p_job_ids[v_g]) is not distinct from (v_row.feature, v_row.amount, v_row.lifetime, v_row.job_id) then
        v_outcomes[v_p] := 'held'; v_is_repeat[v_p] := true; v_until[v_p] := v_until[v_g]; v_types[v_p] := v_types[v_g];
        if v_types[v_g] <> v_kinds[v_n] then
          v_after[v_p] := (select k.available
                             from unnest(v_orgs, v_kinds, v_available) as k (organization_id, token_type, available)
                            where k.organization_id = v_row.organization_id and k.token_type = v_types[v_g]);
        end if;
      else
        v_outcomes[v_p] := 'id_reused';
      end if;
      continue;
    end if;

    if v_available[v_n] < v_row.amount and v_may_fall_back and v_row.asked_type is null then
      v_n := coalesce((
        select k.number
          from public.organizations o
          join tollgate.current_fallbacks f on f.plan = o.plan and f.feature = v_row.feature
          join unnest(v_orgs, v_kinds, v_available, v_in_plan) with ordinality as k (organization_id, token_type, available, is_in_plan, number)
            on k.organization_id = v_row.organization_id and k.token_type = f.token_type
         where o.id = v_row.organization_id and k.available >= v_row.amount and k.is_in_plan
         order by f.rank
         limit 1), v_n);
    end if;
    v_after[v_p] := v_available[v_n];
    -- The plan gate is that of the feature's own type.
    if p_purpose in ('hold', 'job', 'charge') and not v_in_plan[v_row.number] then
      v_outcomes[v_p] := 'feature_not_available'; v_after[v_p] := v_available[v_row.number];
      continue;
    end if;
    if v_jobs_are_full then
      v_outcomes[v_p] := 'too_many_jobs';
      continue;
    elsif v_room[v_n] <= 0 and p_purpose in ('hold', 'job', 'again') then
      v_outcomes[v_p] := 'too_many_holds'; v_types[v_p] := v_kinds[v_n];
      continue;
    end if;
    if v_limited[v_n] then
      select l.is_within, l.counters into v_limits
        from tollgate.count_in_limits(v_row.organization_id, v_kinds[v_n], v_row.principal, v_row.feature, v_row.amount,
                                      v_available[v_n] >= v_row.amount, v_now) l;
      if not v_limits.is_within then
        -- The limit, and what is available, may be those of a type that the feature falls back to.
        v_outcomes[v_p] := 'limit_reached'; v_types[v_p] := v_kinds[v_n];
        continue;
      end if;
      v_counters[v_p] := v_limits.counters::text;
    end if;
    if v_available[v_n] < v_row.amount then
      v_outcomes[v_p] := 'tokens_insufficient';
      continue;
    end if;

    v_g := v_first[v_n];
    if v_g <= v_last[v_n] and v_left[v_g] >= v_row.amount then
      v_took_id[v_p] := v_grant_ids[v_g];
      v_left[v_g] := v_left[v_g] - v_row.amount;
    else
      v_wanted := v_row.amount; v_ids := ''; v_amounts := '';
      loop
        if v_g > v_last[v_n] then
          raise exception 'tollgate: the grants of % of % do not add up to what is available', v_kinds[v_n], v_row.organization_id;
        end if;
        v_part := least(v_wanted, v_left[v_g]);
        if v_part > 0 then
          v_ids := v_ids || ',' || v_grant_ids[v_g]; v_amounts := v_amounts || ',' || v_part;
          v_left[v_g] := v_left[v_g] - v_part;
          v_wanted := v_wanted - v_part;
        end if;
        exit when v_wanted = 0;
        v_g := v_g + 1;
      end loop;
      v_took_ids[v_p] := '{' || substr(v_ids, 2) || '}'; v_took_amounts[v_p] := '{' || substr(v_amounts, 2) || '}';
      v_first[v_n] := v_g;
    end if;
    v_available[v_n] := v_available[v_n] - v_row.amount;
    v_room[v_n] := v_room[v_n] - 1;
    v_outcomes[v_p] := 'held'; v_is_placed[v_p] := true; v_after[v_p] := v_available[v_n]; v_types[v_p] := v_kinds[v_n];
    v_until[v_p] := v_now + v_row.lifetime;
    v_placed_for[v_row.first_position] := v_p;
  end loop;

  insert into tollgate.holds
         (organization_id, id, token_type, feature, amount, grant_ids, grant_amounts, principal, job_id, created_at, expires_at, lifetime_s, limit_counters)
  select u.organization_id, u.hold_id, u.token_type, u.feature, u.amount,
         coalesce(u.took_ids::bigint[], array[u.took_id]), coalesce(u.took_amounts::bigint[], array[u.amount]),
         u.principal, u.job_id, v_now, u.until, ceil(date_part('epoch', u.lifetime)), u.counters::bigint[]
    from unnest(p_organizations, p_hold_ids, v_types, p_features, p_amounts, v_took_id, v_took_ids, v_took_amounts, p_principals, p_job_ids,
                v_until, p_lifetimes, v_counters, v_is_placed)
           as u (organization_id, hold_id, token_type, feature, amount, took_id, took_ids, took_amounts, principal, job_id, until, lifetime, counters, is_placed)
   where u.is_placed;

  update tollgate.grants g
     set remaining = d.remaining
    from unnest(v_grant_ids, v_left, v_before, v_grant_numbers) as d (id, remaining, before, number)
   where d.remaining <> d.before and g.organization_id = v_orgs[d.number] and g.id = d.id;

  select array_agg(row(u.organization_id, u.token_type, 'hold', 'available', 'held', u.amount, u.hold_id, null, u.principal, v_now, u.until, 1)::tollgate.movement
                   order by u.position)
    into v_movements
    from unnest(p_organizations, v_types, p_amounts, p_hold_ids, p_principals, v_until, v_is_placed)
           with ordinality as u (organization_id, token_type, amount, hold_id, principal, until, is_placed, position)
   where u.is_placed;
  perform tollgate.post_movements(v_movements);

  return query
    select u.position::integer, u.outcome, u.is_repeat, u.token_type, u.amount, u.available, u.until
      from unnest(v_outcomes, v_is_repeat, v_types, p_amounts, v_after, v_until)
             with ordinality as u (outcome, is_repeat, token_type, amount, available, until, position);
end
$$;
