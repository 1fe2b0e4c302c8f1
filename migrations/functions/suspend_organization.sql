-- From its commit on nothing new is admitted for the organization: whoever waited for a balance meanwhile finds it suspended. What is
-- open goes on: captures, releases, extensions, refunds, running jobs, refreshes.
-- Outcomes: suspended (suspended_since; on a repeat that of the first) · not_an_operator · organization_unknown.
-- Locks: all balances of the organization (tollgate.lock_organization).
-- A second run finds the organization suspended and changes nothing; the audit log says that it was asked for twice.
create or replace function tollgate.suspend_organization(p_actor text, p_organization text, p_reason text, p_request_id text)
  returns table (outcome text, suspended_since timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_now    timestamptz;
  v_is_new boolean;
begin
  outcome := case
    when not tollgate.is_operator(p_actor) then 'not_an_operator'
    when not exists (select from public.organizations o where o.id = p_organization) then 'organization_unknown'
  end;
  if outcome is not null then
    return next;
    return;
  end if;

  v_now := tollgate.lock_organization(p_organization);
  insert into tollgate.suspensions (organization_id, since, reason, actor) values (p_organization, v_now, p_reason, p_actor)
  on conflict (organization_id) do nothing;
  v_is_new := found;
  select s.since into strict suspended_since from tollgate.suspensions s where s.organization_id = p_organization;
  if v_is_new then
    update tollgate.balances b set is_suspended = true where b.organization_id = p_organization;
    insert into tollgate.outbox (organization_id, kind, subject_id, content)
    values (p_organization, 'organization_suspended', null, jsonb_build_object('since', suspended_since));
  end if;
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'suspendOrganization', p_organization, p_reason,
          case when v_is_new then jsonb_build_object('suspendedSince', jsonb_build_object('from', null, 'to', suspended_since)) else '{}' end,
          p_request_id);
  outcome := 'suspended';
  return next;
end
$$;
grant execute on function tollgate.suspend_organization(text, text, text, text) to tollgate_api;
