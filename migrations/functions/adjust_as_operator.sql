-- Raises or lowers an organization's balance by hand over HTTP: adjust_balance, with who did it and why in the audit log. In the
-- ledger, which the organization reads, he is 'operator'.
-- Outcomes: those of adjust_balance · not_an_operator.
-- Locks: the idempotency record, then the balance. His keys are his own: neither another operator's nor the organization's is met.
-- A second run under the same key answers the adjustment that is recorded, and is no act of its own.
create or replace function tollgate.adjust_as_operator(
  p_actor text, p_organization text, p_token_type text, p_amount bigint, p_why text, p_reason text, p_key text, p_request_id text
) returns table (outcome text, is_repeat boolean, adjustment bigint, available bigint, created_at timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  is_repeat := false;
  if not tollgate.is_operator(p_actor) then
    outcome := 'not_an_operator';
    return next;
    return;
  end if;
  select a.outcome, a.is_repeat, a.adjustment, a.available
    into strict outcome, is_repeat, adjustment, available
    from tollgate.adjust_balance(p_organization, p_token_type, p_amount, 'operator', p_why,
                                 'adjust:' || encode(sha256(convert_to(jsonb_build_array(p_actor, p_key)::text, 'UTF8')), 'hex')) a;
  if outcome = 'adjusted' then
    select a.created_at into strict created_at
      from tollgate.adjustments a
     where a.organization_id = p_organization and a.id = adjustment;
    if not is_repeat then
      insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
      values (p_organization, p_actor, 'adjustBalance', adjustment::text, p_reason,
              jsonb_build_object('tokenType', p_token_type, 'amount', p_amount), p_request_id);
    end if;
  end if;
  return next;
end
$$;
grant execute on function tollgate.adjust_as_operator(text, text, text, bigint, text, text, text, text) to tollgate_api;
