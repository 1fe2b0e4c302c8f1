-- An admin changes settings: those that p_changes names, in the form of tollgate.settings_of, and of the low balances those of
-- the token types that it names. Answers them all as they are then.
-- Outcomes: not_an_admin · organization_unknown · changed. What is no setting, or no value of one, is an error: the caller checks.
-- Locks: the organization's row of rules, then the balances named, sorted by token type.
-- A second run sets the same and writes no line of the audit log.
create or replace function tollgate.change_settings(
  p_actor        text,
  p_organization text,
  p_changes      jsonb,
  p_reason       text,
  p_request_id   text,
  out outcome    text,
  out settings   jsonb
)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_types  text[] := array(select l.key from jsonb_each(p_changes -> 'lowBalances') l order by 1);
  v_before jsonb;
  v_low    record;
begin
  outcome := case
    when not tollgate.may_administer(p_actor, p_organization) then 'not_an_admin'
    when not exists (select from public.organizations o where o.id = p_organization) then 'organization_unknown'
  end;
  if outcome is not null then
    return;
  end if;
  insert into tollgate.organization_rules (organization_id) values (p_organization) on conflict (organization_id) do nothing;
  perform from tollgate.organization_rules r where r.organization_id = p_organization for update;
  if cardinality(v_types) > 0 then
    perform tollgate.lock_balances(array_fill(p_organization, array[cardinality(v_types)]), v_types);
  end if;
  perform set_config('tollgate.organizations', p_organization, true);
  v_before := tollgate.settings_of(p_organization);

  if p_changes ? 'captureAboveHold' then
    perform tollgate.set_capture_rule(p_organization, p_changes ->> 'captureAboveHold');
  end if;
  for v_low in select l.key, l.value from jsonb_each_text(p_changes -> 'lowBalances') l order by l.key loop
    perform tollgate.set_low_balance(p_organization, v_low.key, v_low.value::bigint);
  end loop;

  settings := tollgate.settings_of(p_organization);
  if settings is distinct from v_before then
    insert into tollgate.audit_log (organization_id, actor, act, reason, changes, request_id)
    select p_organization, p_actor, 'changeSettings', p_reason, jsonb_object_agg(s.key, jsonb_build_object('from', v_before -> s.key, 'to', s.value)), p_request_id
      from jsonb_each(settings) s
     where s.value is distinct from v_before -> s.key;
  end if;
  outcome := 'changed';
end
$$;
grant execute on function tollgate.change_settings(text, text, jsonb, text, text) to tollgate_api;
