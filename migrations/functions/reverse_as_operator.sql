-- Undoes an adjustment over HTTP: reverse_adjustment, with who did it and why in the audit log. In the ledger, which the
-- organization reads, he is 'operator'.
-- Outcomes: those of reverse_adjustment · not_an_operator · organization_unknown. Answers the reversal, and of a balance that does
-- not suffice what it has.
-- Locks: the balance. A second run answers the reversal that there is, and is no act of its own.
create or replace function tollgate.reverse_as_operator(
  p_actor text, p_organization text, p_adjustment bigint, p_reason text, p_request_id text
) returns table (outcome text, is_repeat boolean, available bigint, reversal tollgate.adjustments)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_reversal bigint;
begin
  is_repeat := false;
  outcome := case
    when not tollgate.is_operator(p_actor) then 'not_an_operator'
    when not exists (select from public.organizations o where o.id = p_organization) then 'organization_unknown'
  end;
  if outcome is not null then
    return next;
    return;
  end if;
  select a.outcome, a.is_repeat, a.adjustment, a.available
    into strict outcome, is_repeat, v_reversal, available
    from tollgate.reverse_adjustment(p_organization, p_adjustment, 'operator', p_reason) a;
  select a.* into reversal
    from tollgate.adjustments a
   where a.organization_id = p_organization and a.id = coalesce(v_reversal, p_adjustment);
  if outcome = 'reversed' and not is_repeat then
    insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
    values (p_organization, p_actor, 'reverseAdjustment', p_adjustment::text, p_reason,
            jsonb_build_object('reversal', v_reversal, 'amount', reversal.amount), p_request_id);
  end if;
  return next;
end
$$;
grant execute on function tollgate.reverse_as_operator(text, text, bigint, text, text) to tollgate_api;
