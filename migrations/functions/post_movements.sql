-- Appends ledger entries and moves the balances by exactly what they say: the balance is the fold of the ledger because
-- nothing else writes it. A movement that opens a hold, or ends one, counts it in open_holds. Entries are numbered per balance, without gaps, in the order of the array; a block has at most 128,
-- so that it stays in its page.
-- Locks: none; the caller holds the balance rows (tollgate.lock_balances), which is what makes the numbering safe.
-- A second run would post twice: the caller's own guard (a hold's state, a job's state, an idempotency record) is in the
-- same transaction.
create or replace function tollgate.post_movements(p_movements tollgate.movement[])
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_balances              integer;
  v_moved                 integer;
  v_crossed_organizations text[];
  v_crossed_types         text[];
  v_one                   tollgate.movement;
  v_after                 record;
begin
  if coalesce(cardinality(p_movements), 0) = 0 then
    return;
  end if;

  -- One alone, as a lone caller makes it, needs no arrays to be taken apart: a fifth of the time.
  if cardinality(p_movements) = 1 then
    v_one := p_movements[1];
    update tollgate.balances b
       set available       = b.available + case 'available' when v_one.to_account then v_one.amount when v_one.from_account then - v_one.amount else 0 end,
           held            = b.held      + case 'held'      when v_one.to_account then v_one.amount when v_one.from_account then - v_one.amount else 0 end,
           owed            = b.owed      - case 'debt'      when v_one.to_account then v_one.amount when v_one.from_account then - v_one.amount else 0 end,
           used_in_period  = b.used_in_period + case v_one.to_account when 'consumed' then v_one.amount else 0 end,
           open_holds      = b.open_holds + coalesce(v_one.open_holds, 0),
           last_entry      = b.last_entry + 1,
           settled_through = greatest(b.settled_through, v_one.effective_at),
           next_change_at  = least(b.next_change_at, v_one.expires_at)
     where b.organization_id = v_one.organization_id and b.token_type = v_one.token_type
    returning b.last_entry,
              b.available - case 'available' when v_one.to_account then v_one.amount when v_one.from_account then - v_one.amount else 0 end as available_before,
              b.held      - case 'held'      when v_one.to_account then v_one.amount when v_one.from_account then - v_one.amount else 0 end as held_before,
              b.owed      + case 'debt'      when v_one.to_account then v_one.amount when v_one.from_account then - v_one.amount else 0 end as owed_before,
              b.is_low <> coalesce(b.available < b.low_threshold, false) as has_crossed
         into v_after;
    if not found then
      raise exception 'tollgate: a movement named a balance that is not there or not this transaction''s to move'
        using errcode = 'raise_exception';
    end if;
    insert into tollgate.ledger_blocks
           (organization_id, token_type, first_entry, last_entry, available_before, held_before, owed_before,
            kinds, amounts, hold_ids, grant_ids, actors, effective_at)
    values (v_one.organization_id, v_one.token_type, v_after.last_entry, v_after.last_entry,
            v_after.available_before, v_after.held_before, v_after.owed_before,
            case v_one.kind when 'grant' then 'g' when 'hold' then 'h' when 'capture' then 'c' when 'release' then 'r' when 'lapse' then 'l'
                            when 'expire' then 'e' when 'refund' then 'f' when 'debt' then 'o' when 'debt_paid' then 'p'
                            when 'adjustment' then case v_one.to_account when 'available' then 'u' else 'd' end end, array[v_one.amount],
            case when v_one.hold_id is not null then array[v_one.hold_id] end,
            case when v_one.grant_id is not null then array[v_one.grant_id] end,
            array[v_one.actor], v_one.effective_at);
    if v_after.has_crossed and v_one.actor <> 'time' then
      perform tollgate.notice_low(array[v_one.organization_id], array[v_one.token_type]);
    end if;
    return;
  end if;

  with movements as (
    select u.*,
           case u.kind when 'grant' then 'g' when 'hold' then 'h' when 'capture' then 'c' when 'release' then 'r' when 'lapse' then 'l'
                       when 'expire' then 'e' when 'refund' then 'f' when 'debt' then 'o' when 'debt_paid' then 'p'
                       when 'adjustment' then case u.to_account when 'available' then 'u' else 'd' end end as code,
           case 'available' when u.to_account then u.amount when u.from_account then - u.amount else 0 end as available,
           case 'held'      when u.to_account then u.amount when u.from_account then - u.amount else 0 end as held,
           case 'debt'      when u.to_account then - u.amount when u.from_account then u.amount else 0 end as owed,
           case u.to_account when 'consumed' then u.amount else 0 end as used,
           row_number() over (partition by u.organization_id, u.token_type order by u.position) as number
      from unnest(p_movements) with ordinality
        as u (organization_id, token_type, kind, from_account, to_account, amount, hold_id, grant_id, actor, effective_at, expires_at, open_holds, position)
  ), blocks as (
    select m.organization_id, m.token_type, min(m.number) as first_number, max(m.number) as last_number,
           string_agg(m.code, '' order by m.number) as kinds,
           case when min(m.amount) = max(m.amount) then array[min(m.amount)] else array_agg(m.amount order by m.number) end as amounts,
           case when count(m.hold_id) > 0 then array_agg(m.hold_id order by m.number) end as hold_ids,
           case when count(m.grant_id) > 0 then array_agg(m.grant_id order by m.number) end as grant_ids,
           case when min(m.actor) = max(m.actor) then array[min(m.actor)] else array_agg(m.actor order by m.number) end as actors,
           max(m.effective_at) as effective_at,
           case when min(m.effective_at) < max(m.effective_at) then array_agg(m.effective_at order by m.number) end as effective_ats,
           sum(m.available)::bigint as available, sum(m.held)::bigint as held, sum(m.owed)::bigint as owed, sum(m.used)::bigint as used,
           min(m.expires_at) as expires_at, sum(m.open_holds) as open_holds
      from movements m
     group by m.organization_id, m.token_type, (m.number - 1) / 128
  ), totals as (
    select k.organization_id, k.token_type,
           sum(k.available)::bigint as available, sum(k.held)::bigint as held, sum(k.owed)::bigint as owed, sum(k.used)::bigint as used,
           max(k.last_number) as entries, min(k.expires_at) as expires_at, max(k.effective_at) as effective_at,
           coalesce(sum(k.open_holds), 0)::integer as open_holds
      from blocks k
     group by k.organization_id, k.token_type
  ), moved as (
    update tollgate.balances b
       set available      = b.available + t.available,
           held           = b.held + t.held,
           owed           = b.owed + t.owed,
           used_in_period = b.used_in_period + t.used,
           open_holds     = b.open_holds + t.open_holds,
           last_entry     = b.last_entry + t.entries,
           -- Time is settled up to a movement, so that none is ever dated before it, even where the database's clock steps back.
           settled_through = greatest(b.settled_through, t.effective_at),
           next_change_at = least(b.next_change_at, t.expires_at)
      from totals t
     where b.organization_id = t.organization_id and b.token_type = t.token_type
    returning b.organization_id, b.token_type, b.last_entry - t.entries as last_entry_before,
              b.available - t.available as available, b.held - t.held as held, b.owed - t.owed as owed,
              b.is_low <> coalesce(b.available < b.low_threshold, false) as has_crossed
  ), written as (
    insert into tollgate.ledger_blocks
           (organization_id, token_type, first_entry, last_entry, available_before, held_before, owed_before,
            kinds, amounts, hold_ids, grant_ids, actors, effective_at, effective_ats)
    select k.organization_id, k.token_type, m.last_entry_before + k.first_number, m.last_entry_before + k.last_number,
           m.available + coalesce(sum(k.available) over earlier, 0),
           m.held      + coalesce(sum(k.held)      over earlier, 0),
           m.owed      + coalesce(sum(k.owed)      over earlier, 0),
           k.kinds, k.amounts, k.hold_ids, k.grant_ids, k.actors, k.effective_at, k.effective_ats
      from blocks k
      join moved m on m.organization_id = k.organization_id and m.token_type = k.token_type
    window earlier as (partition by k.organization_id, k.token_type order by k.first_number rows between unbounded preceding and 1 preceding)
  )
  select (select count(*) from totals), count(*),
         array_agg(m.organization_id) filter (where m.has_crossed), array_agg(m.token_type) filter (where m.has_crossed)
    into v_balances, v_moved, v_crossed_organizations, v_crossed_types
    from moved m;

  if v_moved is distinct from v_balances then
    raise exception 'tollgate: a movement named a balance that is not there or not this transaction''s to move'
      using errcode = 'raise_exception';
  end if;

  -- Time's own movements are looked at where tollgate.settle_time ends: between an expiry and the allowance that follows it
  -- at the same instant nobody is out of tokens.
  if v_crossed_types is not null and p_movements[1].actor <> 'time' then
    perform tollgate.notice_low(v_crossed_organizations, v_crossed_types);
  end if;
end
$$;
