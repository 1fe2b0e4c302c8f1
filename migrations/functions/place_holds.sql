-- Decides, row by row, which holds the balances can bear, and places those: a small hold still fits after a large one was
-- refused, and one bad row never fails its neighbours. Balance by balance, and within one in the order given.
-- p_token_types: null where the catalogue says what the feature is paid with; a job names what it was quoted.
-- p_refusals names rows that the caller has refused already; p_is_gated asks for the plan gate (a job that was admitted is
-- not asked again).
-- Locks: the balances, by tollgate.lock_balances.
-- A second run with the same id, feature and amount answers 'held' with is_repeat and the recorded expiry; nothing moves.
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
  p_is_gated      boolean
) returns table (ordinal integer, outcome text, is_repeat boolean, token_type text, amount bigint, available bigint, expires_at timestamptz)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  -- Far beyond any use, and well within what a timestamp can bear: one absurd lifetime must not fail the batch.
  c_longest       constant interval := interval '366 days';
  v_now           timestamptz;
  v_locked_orgs   text[];
  v_locked_types  text[];
  v_row           record;
  v_seen          record;
  v_organization  text;
  v_token_type    text;
  v_available     bigint;
  v_grant_ids     bigint[];
  v_grant_left    bigint[];
  v_first         integer;
  v_wanted        bigint;
  v_part          bigint;
  v_taken_ids     bigint[];
  v_taken_amounts bigint[];
  v_drained_ids   bigint[] := '{}';
  v_drained       bigint[] := '{}';
  v_drained_orgs  text[]   := '{}';
  v_movements     tollgate.movement[] := '{}';
begin
  select array_agg(u.organization_id order by u.position), array_agg(coalesce(u.token_type, f.token_type) order by u.position)
    into v_locked_orgs, v_locked_types
    from unnest(p_organizations, p_features, p_token_types, p_refusals) with ordinality as u (organization_id, feature, token_type, refusal, position)
    left join tollgate.current_features f on f.feature = u.feature
   where u.refusal is null and coalesce(u.token_type, f.token_type) is not null;
  v_now := tollgate.lock_balances(v_locked_orgs, v_locked_types);

  for v_row in
    select u.position::integer as position, u.organization_id, u.hold_id, u.feature, u.amount, u.lifetime, u.principal, u.job_id,
           u.refusal, o.id is not null as is_known, t.token_type, coalesce(a.tokens, 0) = 0 as is_blocked,
           -- Ids with a colon are the job functions' own, so no caller can be in their way.
           u.hold_id ~ '^[A-Za-z0-9_-]{1,64}$' or u.hold_id in ('again:' || u.job_id, 'late:' || u.job_id) as is_id
      from unnest(p_organizations, p_hold_ids, p_features, p_token_types, p_amounts, p_lifetimes, p_principals, p_job_ids, p_refusals)
             with ordinality as u (organization_id, hold_id, feature, token_type, amount, lifetime, principal, job_id, refusal, position)
      left join public.organizations o on o.id = u.organization_id
      left join tollgate.current_features f on f.feature = u.feature
     cross join lateral (select coalesce(u.token_type, f.token_type) as token_type) t
      left join tollgate.current_allowances a on a.plan = o.plan and a.token_type = t.token_type
     order by u.organization_id, t.token_type, u.position
  loop
    ordinal := v_row.position; token_type := v_row.token_type; amount := v_row.amount;
    is_repeat := false; expires_at := null; available := null;

    outcome := case
      when v_row.refusal is not null then v_row.refusal
      when not v_row.is_known then 'organization_unknown'
      when v_row.token_type is null then 'feature_unknown'
      when v_row.is_id is not true then 'id_invalid'
      when v_row.amount is null or v_row.amount <= 0 or v_row.amount > 9007199254740991 then 'amount_invalid'
      -- As instants: an interval counts a month as 30 days where it is compared, and as what it is where it is added.
      when v_row.lifetime is null or v_now + v_row.lifetime <= v_now or v_now + v_row.lifetime > v_now + c_longest then 'lifetime_invalid'
    end;
    if outcome is not null then
      return next;
      continue;
    end if;

    -- A new balance: its live grants in burn order (priority, soonest expiry, free before paid, oldest).
    if (v_row.organization_id, v_row.token_type) is distinct from (v_organization, v_token_type) then
      v_organization := v_row.organization_id;
      v_token_type := v_row.token_type;
      select b.available into strict v_available
        from tollgate.balances b
       where b.organization_id = v_organization and b.token_type = v_token_type;
      select array_agg(g.id order by g.priority, g.expires_at nulls last, g.is_paid, g.id),
             array_agg(g.remaining order by g.priority, g.expires_at nulls last, g.is_paid, g.id)
        into v_grant_ids, v_grant_left
        from tollgate.grants g
       where g.organization_id = v_organization and g.token_type = v_token_type and g.remaining > 0;
      v_first := 1;
    end if;

    -- Seen before, in an earlier call or earlier in this one. A job's hold is nobody else's repeat.
    select h.feature, h.amount, h.job_id, h.state, h.expires_at into v_seen
      from tollgate.holds h
     where h.organization_id = v_row.organization_id and h.id = v_row.hold_id;
    if found then
      if (v_seen.feature, v_seen.amount, v_seen.job_id) is not distinct from (v_row.feature, v_row.amount, v_row.job_id) then
        outcome := v_seen.state; is_repeat := true; expires_at := v_seen.expires_at;
      else
        outcome := 'id_reused';
      end if;
      available := v_available;
      return next;
      continue;
    end if;

    if p_is_gated and v_row.is_blocked then
      outcome := 'feature_not_available'; available := v_available;
      return next;
      continue;
    end if;
    if v_available < v_row.amount then
      outcome := 'tokens_insufficient'; available := v_available;
      return next;
      continue;
    end if;

    v_wanted := v_row.amount; v_taken_ids := '{}'; v_taken_amounts := '{}';
    while v_wanted > 0 loop
      v_part := least(v_wanted, v_grant_left[v_first]);
      v_taken_ids := v_taken_ids || v_grant_ids[v_first];
      v_taken_amounts := v_taken_amounts || v_part;
      v_grant_left[v_first] := v_grant_left[v_first] - v_part;
      v_wanted := v_wanted - v_part;
      if v_grant_left[v_first] = 0 then
        v_first := v_first + 1;
      end if;
    end loop;
    v_available := v_available - v_row.amount;
    v_drained_orgs := v_drained_orgs || array_fill(v_row.organization_id, array[cardinality(v_taken_ids)]);
    v_drained_ids := v_drained_ids || v_taken_ids;
    v_drained := v_drained || v_taken_amounts;

    outcome := 'held'; available := v_available; expires_at := v_now + v_row.lifetime;
    insert into tollgate.holds (organization_id, id, token_type, feature, amount, grant_ids, grant_amounts, principal, job_id, created_at, expires_at)
    values (v_row.organization_id, v_row.hold_id, v_row.token_type, v_row.feature, v_row.amount, v_taken_ids, v_taken_amounts,
            v_row.principal, v_row.job_id, v_now, v_now + v_row.lifetime);
    v_movements := v_movements
      || row(v_row.organization_id, v_row.token_type, 'hold', 'available', 'held', v_row.amount, v_row.hold_id, null, v_row.principal, v_now)::tollgate.movement;
    return next;
  end loop;

  update tollgate.grants g
     set remaining = g.remaining - d.amount
    from (select u.organization_id, u.grant_id, sum(u.amount) as amount
            from unnest(v_drained_orgs, v_drained_ids, v_drained) as u (organization_id, grant_id, amount)
           group by u.organization_id, u.grant_id) d
   where g.organization_id = d.organization_id and g.id = d.grant_id;

  update tollgate.balances b
     set next_change_at = n.expires_at
    from (select u.organization_id, coalesce(u.token_type, f.token_type) as token_type, min(v_now + u.lifetime) as expires_at
            from unnest(p_organizations, p_features, p_token_types, p_lifetimes, p_refusals)
                   as u (organization_id, feature, token_type, lifetime, refusal)
            left join tollgate.current_features f on f.feature = u.feature
           where u.refusal is null and v_now + u.lifetime > v_now and v_now + u.lifetime <= v_now + c_longest
           group by u.organization_id, coalesce(u.token_type, f.token_type)) n
   where b.organization_id = n.organization_id and b.token_type = n.token_type and b.next_change_at > n.expires_at;

  perform tollgate.post_movements(v_movements);
end
$$;
