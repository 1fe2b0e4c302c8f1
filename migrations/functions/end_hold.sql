-- One hold in full: what tollgate.end_holds cannot do for many at once. Captures of parts under a key, captures above what is
-- held by the organization's rule (refuse, cap, draw the rest from the balance), repeats of an end.
-- Where the rest cannot be drawn, required says how many tokens that would take, and available how many there are.
-- Locks: none; the caller holds the balance row.
-- A second run finds the step under its key, or the hold ended, and answers what is recorded.
create or replace function tollgate.end_hold(
  p_organization text,
  p_hold         text,
  p_verb         text,
  p_amount       bigint,
  p_key          text,
  p_is_last      boolean,
  p_actor        text,
  p_metadata     jsonb,
  p_now          timestamptz,
  out outcome text, out is_repeat boolean, out charge_id text, out captured bigint, out returned bigint, out captured_in_all bigint,
  out required bigint, out available bigint
)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  c_largest   constant bigint := 9007199254740991;
  v_hold      tollgate.holds;
  v_step      tollgate.hold_steps;
  v_is_last   boolean := coalesce(p_is_last, true);
  v_open      bigint;
  v_charge    bigint;
  v_number    integer := 1;
  v_in_steps  bigint;
  v_is_ended_by_step boolean;
  v_rule      text;
  v_more      record;
  v_is_drawn  boolean := false;
  v_movements tollgate.movement[] := '{}';
begin
  is_repeat := false; captured := 0; returned := 0;
  select h.* into strict v_hold from tollgate.holds h where h.organization_id = p_organization and h.id = p_hold;
  captured_in_all := v_hold.captured;
  v_open := v_hold.amount - v_hold.captured;

  if p_verb = 'release' then
    if v_hold.state in ('released', 'lapsed') then
      outcome := v_hold.state; is_repeat := true; returned := v_open;
      return;
    elsif v_hold.state <> 'held' then
      outcome := 'hold_' || v_hold.state; returned := v_open;
      return;
    end if;
    v_charge := 0; v_is_last := true;
  else
    -- '' is the key of a last capture without one: it is written down where what was charged is not what was asked for.
    select s.* into v_step
      from tollgate.hold_steps s
     where s.organization_id = p_organization and s.hold_id = p_hold and s.verb = 'capture' and s.key = coalesce(p_key, '')
       and p_key is distinct from '';
    if found then
      charge_id := p_hold || '.' || v_step.charge_number;
      -- 0 is kept where all was asked for; nobody was ever charged for asking 0.
      if (v_step.asked, v_step.is_last) is distinct from (coalesce(p_amount, 0), v_is_last) or p_amount = 0 then
        outcome := case when p_key is null then 'hold_' || v_hold.state else 'key_reused' end; charge_id := null;
      else
        outcome := 'captured'; is_repeat := true; captured := v_step.amount;
      end if;
      returned := case when v_step.is_last then v_open else 0 end;
      return;
    end if;
    select count(s.charge_number) + 1, coalesce(sum(s.amount), 0), coalesce(bool_or(s.is_last), false)
      into v_number, v_in_steps, v_is_ended_by_step
      from tollgate.hold_steps s
     where s.organization_id = p_organization and s.hold_id = p_hold and s.verb = 'capture';

    if v_hold.state <> 'held' then
      -- The last charge is what the keyed ones before it left, unless one of them was the last.
      v_charge := v_hold.captured - v_in_steps;
      is_repeat := v_hold.state = 'captured' and not v_is_ended_by_step and p_key is null and v_is_last
                   and case when p_amount is null then v_open = 0 else p_amount = v_charge end;
      outcome := case when is_repeat then 'captured' else 'hold_' || v_hold.state end;
      charge_id := case when is_repeat and v_charge > 0 then p_hold || '.' || v_number end;
      captured := case when is_repeat then v_charge else 0 end;
      returned := v_open;
      return;
    elsif p_amount <= 0 or p_amount > c_largest then
      outcome := 'amount_invalid';
      return;
    elsif (p_key is null and not v_is_last) or length(p_key) not between 1 and 255 then
      outcome := 'key_invalid';
      return;
    end if;

    v_charge := coalesce(p_amount, v_open);
    if v_charge > v_open then
      v_rule := coalesce((select r.capture_above_hold from tollgate.organization_rules r where r.organization_id = p_organization), 'refuse');
      -- What is drawn was never held: to a suspended organization that is something new, as a growth is.
      if v_rule = 'draw' and exists (select from tollgate.balances b
                                      where b.organization_id = p_organization and b.token_type = v_hold.token_type and b.is_suspended) then
        v_rule := 'refuse';
      end if;
      if v_rule = 'cap' then
        v_charge := v_open;
      elsif v_rule = 'draw' then
        select t.* into strict v_more
          from tollgate.take_more(p_organization, p_hold, 'draw', coalesce(p_key, ''), v_charge - v_open, p_actor, p_now) t;
        if v_more.outcome <> 'grown' then
          outcome := v_more.outcome; required := v_charge - v_open; available := v_more.available;
          return;
        end if;
        v_hold.amount := v_hold.amount + v_charge - v_open;
        v_open := v_charge; v_is_drawn := true;
      else
        outcome := 'amount_above_hold';
        return;
      end if;
    end if;
    -- A hold that is charged to the last token and ended without more has no charge to add.
    if v_charge = 0 and not v_is_last then
      outcome := 'amount_above_hold';
      return;
    end if;
  end if;

  update tollgate.holds h
     set state    = case when not v_is_last then 'held' when p_verb = 'capture' then 'captured' else 'released' end,
         captured = h.captured + v_charge,
         ended_at = case when v_is_last then p_now end
   where h.organization_id = p_organization and h.id = p_hold and h.state = 'held';
  captured := v_charge; captured_in_all := v_hold.captured + v_charge;

  -- An end that found nothing left to charge is written down too: it is no charge, and its repeat is a repeat all the same.
  if p_verb = 'capture' and (p_key is not null or v_charge <> coalesce(p_amount, v_charge) or v_is_drawn) then
    insert into tollgate.hold_steps (organization_id, hold_id, verb, key, asked, amount, is_last, charge_number, available, created_at)
    values (p_organization, p_hold, 'capture', coalesce(p_key, ''), coalesce(p_amount, 0), v_charge, v_is_last,
            case when v_charge > 0 then v_number end, 0, p_now);
  end if;
  if v_charge > 0 then
    charge_id := p_hold || '.' || v_number;
    insert into public.ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, metadata, created_at, token_type, charge_id, principal)
    values (p_organization, case when left(v_hold.principal, 5) = 'user:' then substr(v_hold.principal, 6) end, v_hold.feature, v_charge,
            case when v_hold.job_id is null then coalesce(p_metadata, '{}') else coalesce(p_metadata, '{}') || jsonb_build_object('jobId', v_hold.job_id) end,
            p_now, v_hold.token_type, charge_id, v_hold.principal);
    v_movements := v_movements
      || row(p_organization, v_hold.token_type, 'capture', 'held', 'consumed', v_charge, p_hold, null, p_actor, p_now, null,
             case when v_is_last and v_open = v_charge then -1 else 0 end)::tollgate.movement;
  end if;
  if v_is_last and v_open > v_charge then
    returned := v_open - v_charge;
    v_movements := v_movements
      || row(p_organization, v_hold.token_type, 'release', 'held', 'available', returned, p_hold, null, p_actor, p_now, null, -1)::tollgate.movement
      || tollgate.return_slices(array[p_organization], array[p_hold], array[captured_in_all], array[v_hold.amount], array[p_actor], array[p_now]);
  end if;
  if v_is_last and v_open = 0 then
    -- Parts have charged it to the last token: no movement ends it.
    update tollgate.balances b
       set open_holds = b.open_holds - 1
     where b.organization_id = p_organization and b.token_type = v_hold.token_type;
  end if;
  perform tollgate.post_movements(v_movements);
  outcome := case when p_verb = 'capture' then 'captured' else 'released' end;
end
$$;
