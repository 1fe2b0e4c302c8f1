-- Appends ledger entries and moves the balances by exactly what they say: the balance is the fold of the ledger because
-- nothing else writes it. Entries are numbered per balance, without gaps, in the order of the array.
-- Locks: none; the caller holds the balance rows (tollgate.lock_balances), which is what makes the numbering safe.
-- A second run would post twice: the caller's own guard (a hold's state, a job's state, an idempotency record) is in the
-- same transaction.
create or replace function tollgate.post_movements(p_movements tollgate.movement[])
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_balances              integer;
  v_moved                 integer;
  v_crossed_organizations text[];
  v_crossed_types         text[];
begin
  if coalesce(cardinality(p_movements), 0) = 0 then
    return;
  end if;

  with movements as (
    select u.*
      from unnest(p_movements) with ordinality
        as u (organization_id, token_type, kind, from_account, to_account, amount, hold_id, grant_id, actor, effective_at, position)
  ), numbered as (
    select m.*,
           b.last_entry + row_number() over entries as entry_number,
           b.available + sum(case 'available' when m.to_account then m.amount when m.from_account then - m.amount else 0 end) over entries as available_after,
           b.held      + sum(case 'held'      when m.to_account then m.amount when m.from_account then - m.amount else 0 end) over entries as held_after,
           b.owed      - sum(case 'debt'      when m.to_account then m.amount when m.from_account then - m.amount else 0 end) over entries as owed_after
      from movements m
      join tollgate.balances b using (organization_id, token_type)
    window entries as (partition by m.organization_id, m.token_type order by m.position rows unbounded preceding)
  ), entries as (
    insert into tollgate.ledger_entries
           (organization_id, token_type, entry_number, kind, from_account, to_account, amount,
            available_after, held_after, owed_after, hold_id, grant_id, actor, effective_at)
    select n.organization_id, n.token_type, n.entry_number, n.kind, n.from_account, n.to_account, n.amount,
           n.available_after, n.held_after, n.owed_after, n.hold_id, n.grant_id, n.actor, n.effective_at
      from numbered n
     order by n.organization_id, n.token_type, n.entry_number
    returning organization_id, token_type, entry_number
  ), totals as (
    select m.organization_id, m.token_type,
           sum(case 'available' when m.to_account then m.amount when m.from_account then - m.amount else 0 end) as available,
           sum(case 'held'      when m.to_account then m.amount when m.from_account then - m.amount else 0 end) as held,
           - sum(case 'debt'    when m.to_account then m.amount when m.from_account then - m.amount else 0 end) as owed,
           sum(case when m.to_account = 'consumed' then m.amount else 0 end) as used,
           count(*) as entries
      from movements m
     group by m.organization_id, m.token_type
  ), moved as (
    update tollgate.balances b
       set available      = b.available + t.available,
           held           = b.held + t.held,
           owed           = b.owed + t.owed,
           used_in_period = b.used_in_period + t.used,
           last_entry     = b.last_entry + t.entries
      from totals t
     where b.organization_id = t.organization_id
       and b.token_type = t.token_type
    returning b.organization_id, b.token_type, b.is_low <> coalesce(b.available < b.low_threshold, false) as has_crossed
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
