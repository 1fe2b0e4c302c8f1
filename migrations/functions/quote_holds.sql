-- What holds would answer at this moment, each as if it were alone: for arrays, row by row. The same decision as
-- tollgate.place_holds, in the same order, over the same burn order and the same limits; a test holds the two against each other.
-- grants: what a hold would take, in the order in which it would burn.
-- Outcomes: held; those of domain/refusals.ts, QUOTE_REFUSALS, in the order of decision; and not_settled where time has done something that is not booked yet, or a balance
-- was not made yet: the caller books it (tollgate.settle_due) and asks again.
-- Reads only, in the one snapshot of its statement; locks nothing. The caller has named his tenants.
create or replace function tollgate.quote_holds(p_principals text[], p_organizations text[], p_features text[], p_amounts bigint[])
  returns table (ordinal integer, outcome text, token_type text, amount bigint, available bigint, grants jsonb)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  c_largest   constant bigint := 9007199254740991;
  v_now       timestamptz := clock_timestamp();
  v_refusals  text[] := tollgate.refusals_for(p_principals, p_organizations);
  v_row       record;
  -- The balances, by number, and their live grants: those of balance n are v_first[n] to v_last[n].
  v_orgs      text[];
  v_kinds     text[];
  v_available bigint[];
  v_in_plan   boolean[];
  v_limited   boolean[];
  v_full      boolean[];
  v_due       boolean[];
  v_burns     text[];
  v_numbers   integer[];
  v_grant_ids bigint[];
  v_left      bigint[];
  v_first     integer[];
  v_last      integer[];
  v_n         integer;
  v_k         integer;
  v_g         integer;
  v_wanted    bigint;
  v_part      bigint;
  v_ids       bigint[];
  v_parts     bigint[];
begin
  select array_agg(b.organization_id), array_agg(b.token_type), array_agg(b.available), array_agg(b.is_in_plan), array_agg(b.is_limited),
         array_agg(b.next_change_at <= v_now), array_agg(b.burn_order), array_agg(b.open_holds >= b.most_open_holds)
    into v_orgs, v_kinds, v_available, v_in_plan, v_limited, v_due, v_burns, v_full
    from (select u.organization_id, f.token_type
            from unnest(p_organizations, p_features, v_refusals) as u (organization_id, feature, refusal)
            join tollgate.current_features f on f.feature = u.feature
           where u.refusal is null
          union
          select u.organization_id, k.token_type
            from unnest(p_organizations, p_features, v_refusals) as u (organization_id, feature, refusal)
            join public.organizations o on o.id = u.organization_id
            join tollgate.current_fallbacks k on k.plan = o.plan and k.feature = u.feature
           where u.refusal is null) w
   cross join lateral (
     select l.organization_id, l.token_type, l.available, l.is_in_plan, l.is_limited, l.next_change_at, l.burn_order, l.open_holds, l.most_open_holds
       from tollgate.balances l
      where l.organization_id = w.organization_id and l.token_type = w.token_type
     offset 0) b;

  select l.numbers, l.grant_ids, l.remaining into v_numbers, v_grant_ids, v_left
    from tollgate.live_grants(v_orgs, v_kinds, v_burns) l;
  v_first := array_fill(1, array[coalesce(cardinality(v_orgs), 0)]);
  v_last  := array_fill(0, array[coalesce(cardinality(v_orgs), 0)]);
  for v_g in 1..coalesce(cardinality(v_grant_ids), 0) loop
    v_n := v_numbers[v_g];
    if v_last[v_n] = 0 then
      v_first[v_n] := v_g;
    end if;
    v_last[v_n] := v_g;
  end loop;

  for v_row in
    select u.position::integer as position, u.principal, u.organization_id, u.feature, u.amount, u.refusal, f.token_type, o.id as known, s.organization_id is not null as is_suspended, k.number::integer as number,
           r.numbers as others, r.wanted as others_wanted
      from unnest(p_principals, p_organizations, p_features, p_amounts, v_refusals)
             with ordinality as u (principal, organization_id, feature, amount, refusal, position)
      left join tollgate.current_features f on f.feature = u.feature
      left join public.organizations o on o.id = u.organization_id
      left join tollgate.suspensions s on s.organization_id = u.organization_id
      left join unnest(v_orgs, v_kinds) with ordinality as k (organization_id, token_type, number)
        on k.organization_id = u.organization_id and k.token_type = f.token_type
      left join lateral (
        select array_agg(n.number::integer order by c.rank) filter (where n.number is not null) as numbers, count(*) as wanted
          from tollgate.current_fallbacks c
          left join unnest(v_orgs, v_kinds) with ordinality as n (organization_id, token_type, number)
            on n.organization_id = u.organization_id and n.token_type = c.token_type
         where c.plan = o.plan and c.feature = u.feature) r on f.has_fallbacks
     order by u.position
  loop
    ordinal := v_row.position; token_type := case when v_row.refusal is null then v_row.token_type end; amount := v_row.amount; available := null; grants := '[]';
    v_n := v_row.number;
    outcome := case
      when v_row.refusal is not null then v_row.refusal
      when v_row.known is null then 'organization_unknown'
      when v_row.is_suspended then 'organization_suspended'
      when v_row.token_type is null then 'feature_unknown'
      when v_n is null or v_due[v_n] then 'not_settled'
      when v_row.amount is null or v_row.amount <= 0 or v_row.amount > c_largest then 'amount_invalid'
    end;
    if outcome is null and v_available[v_n] < v_row.amount and v_row.others_wanted > 0 then
      if cardinality(v_row.others) is distinct from v_row.others_wanted::integer or exists (select from unnest(v_row.others) as x (n) where v_due[x.n]) then
        outcome := 'not_settled';
      end if;
      foreach v_k in array coalesce(v_row.others, '{}') loop
        if v_available[v_k] >= v_row.amount and v_in_plan[v_k] then
          v_n := v_k;
          exit;
        end if;
      end loop;
    end if;
    if outcome is not null then
      return next;
      continue;
    end if;

    -- The plan gate is that of the feature's own type.
    if not v_in_plan[v_row.number] then
      outcome := 'feature_not_available'; available := v_available[v_row.number];
      return next;
      continue;
    end if;
    token_type := v_kinds[v_n]; available := v_available[v_n];
    if v_full[v_n] then
      outcome := 'too_many_holds';
    elsif v_limited[v_n] and not (
      select l.is_within
        from tollgate.count_in_limits(v_row.organization_id, v_kinds[v_n], v_row.principal, v_row.feature, v_row.amount, false, v_now) l)
    then
      outcome := 'limit_reached';
    elsif available < v_row.amount then
      outcome := 'tokens_insufficient';
    else
      outcome := 'held';
      v_wanted := v_row.amount; v_ids := '{}'; v_parts := '{}'; v_g := v_first[v_n];
      while v_wanted > 0 and v_g <= v_last[v_n] loop
        v_part := least(v_wanted, v_left[v_g]);
        v_ids := v_ids || v_grant_ids[v_g]; v_parts := v_parts || v_part;
        v_wanted := v_wanted - v_part; v_g := v_g + 1;
      end loop;
      if v_wanted > 0 then
        raise exception 'tollgate: the grants of % of % do not add up to what is available', token_type, v_row.organization_id;
      end if;
      select jsonb_agg(jsonb_build_object('id', g.id, 'source', g.source, 'isPaid', g.is_paid, 'tokens', u.part,
                         'expiresAt', to_char(g.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) order by u.rank) into grants
        from unnest(v_ids, v_parts) with ordinality as u (id, part, rank)
        join tollgate.grants g on g.organization_id = v_row.organization_id and g.id = u.id;
    end if;
    return next;
  end loop;
end
$$;
grant execute on function tollgate.quote_holds(text[], text[], text[], bigint[]) to tollgate_api;
