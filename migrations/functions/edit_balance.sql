-- An edit of public.ai_tokens, booked as an adjustment with the SQL user as its actor. An insert for a pair that exists
-- sets it; an update moves the balance by the difference that its writer saw, so two sessions that each add 10 add 20.
-- Raising books a grant without expiry; lowering takes from the grants in burn order. A refresh_date moves the next
-- boundary once, and with it the end of this period's plan grants; one that has passed ends the period at once, before the
-- balance is moved.
-- Locks: the balance. Every run is an edit of its own, as SQL users expect.
create or replace function tollgate.edit_balance() returns trigger
  language plpgsql security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  -- Far below what a number on the wire can hold (2^53 - 1), so that whatever is held or granted beside it fits too.
  c_largest constant bigint := 1000000000000000;
  v_actor   text := 'sql:' || coalesce(nullif(nullif(current_setting('role', true), ''), 'none'), session_user);
  v_now     timestamptz;
  v_balance tollgate.balances;
  v_change  bigint;
  v_settled boolean := false;
begin
  if tg_op = 'UPDATE' and (new.organization_id, new.token_type) is distinct from (old.organization_id, old.token_type) then
    raise exception 'tollgate: a balance stays with its organization and token type; adjust both balances instead'
      using errcode = 'feature_not_supported';
  end if;
  perform tollgate.check_balance(new.organization_id, new.token_type);

  if new.total_allocated not between 0 and c_largest then
    raise exception 'tollgate: total_allocated must lie between 0 and %', c_largest using errcode = 'check_violation';
  end if;

  -- All of the organization's, in the order of everybody else: a statement over several rows edits them in the order of its
  -- plan, and would meet a hold or a plan change half-way in the other direction.
  select tollgate.lock_balances(array_agg(new.organization_id), array_agg(t.token_type order by t.token_type)) into strict v_now
    from (select distinct a.token_type from tollgate.current_allowances a) t;
  select b.* into strict v_balance
    from tollgate.balances b
   where b.organization_id = new.organization_id and b.token_type = new.token_type;

  if new.refresh_date is not null and (tg_op = 'INSERT' or new.refresh_date is distinct from old.refresh_date) then
    if new.refresh_date <= v_balance.period_start then
      raise exception 'tollgate: refresh_date must lie after the period''s start, %', v_balance.period_start
        using errcode = 'check_violation';
    end if;
    if new.refresh_date > v_now + interval '10 years' then
      raise exception 'tollgate: refresh_date must lie within the next ten years' using errcode = 'check_violation';
    end if;
    -- One that has passed ends the period now, not then: nothing takes effect before what is booked already.
    new.refresh_date := greatest(new.refresh_date, v_now);
    update tollgate.grants g
       set expires_at = new.refresh_date
     where g.organization_id = new.organization_id and g.token_type = new.token_type
       and g.source in ('allowance', 'upgrade') and g.expires_at = v_balance.refresh_date;
    update tollgate.balances b
       set refresh_date = new.refresh_date,
           next_change_at = least(b.next_change_at, new.refresh_date)
     where b.organization_id = new.organization_id and b.token_type = new.token_type;
    if new.refresh_date <= v_now then
      perform tollgate.settle_time(new.organization_id, new.token_type, v_now);
      v_settled := true;
    end if;
    select b.* into strict v_balance
      from tollgate.balances b
     where b.organization_id = new.organization_id and b.token_type = new.token_type;
  end if;

  v_change := case
    when new.balance is null then 0
    when tg_op = 'INSERT' then new.balance - v_balance.available
    -- The period that the writer saw is over: its difference would come on top of the new allowance.
    when v_settled and new.balance is distinct from old.balance then new.balance - v_balance.available
    else new.balance - old.balance
  end;
  if v_balance.available + v_change < 0 then
    raise exception 'tollgate: balance of % cannot become %; it is % now (tokens on hold do not count)',
      new.token_type, v_balance.available + v_change, v_balance.available
      using errcode = 'check_violation';
  end if;
  if v_balance.available + v_change > c_largest then
    raise exception 'tollgate: balance of % cannot become %; the largest is %', new.token_type, v_balance.available + v_change, c_largest
      using errcode = 'check_violation';
  end if;

  -- Only what its writer changed: an update of the balance alone must not write back what it saw of the plan.
  if new.total_allocated is not null and (tg_op = 'INSERT' or new.total_allocated is distinct from old.total_allocated) then
    update tollgate.balances b
       set allocated = new.total_allocated
     where b.organization_id = new.organization_id and b.token_type = new.token_type;
  end if;

  if v_change > 0 then
    perform tollgate.adjust_up(new.organization_id, new.token_type, v_change, v_actor, 'edit of ai_tokens by SQL', null, v_now);
  elsif v_change < 0 then
    perform tollgate.adjust_down(new.organization_id, new.token_type, - v_change, v_actor, 'edit of ai_tokens by SQL', null, v_now);
  end if;

  -- What a RETURNING clause shows.
  select b.available, b.allocated, b.refresh_date
    into strict new.balance, new.total_allocated, new.refresh_date
    from tollgate.balances b
   where b.organization_id = new.organization_id and b.token_type = new.token_type;
  return new;
end
$$;
