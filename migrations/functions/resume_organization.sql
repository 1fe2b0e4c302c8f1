-- Ends a suspension: from its commit on the organization is served as before.
-- Outcomes: resumed · not_an_operator · organization_unknown.
-- Locks: all balances of the organization (tollgate.lock_organization).
-- A second run finds nothing suspended and changes nothing; the audit log says that it was asked for twice.
create or replace function tollgate.resume_organization(p_actor text, p_organization text, p_reason text, p_request_id text)
  returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_since timestamptz;
begin
  if not tollgate.is_operator(p_actor) then
    return 'not_an_operator';
  elsif not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  end if;

  perform tollgate.lock_organization(p_organization);
  delete from tollgate.suspensions s where s.organization_id = p_organization returning s.since into v_since;
  if v_since is not null then
    update tollgate.balances b set is_suspended = false where b.organization_id = p_organization;
    insert into tollgate.outbox (organization_id, kind, subject_id, content)
    values (p_organization, 'organization_resumed', null, jsonb_build_object('suspendedSince', v_since));
  end if;
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'resumeOrganization', p_organization, p_reason,
          case when v_since is null then '{}' else jsonb_build_object('suspendedSince', jsonb_build_object('from', v_since, 'to', null)) end,
          p_request_id);
  return 'resumed';
end
$$;
grant execute on function tollgate.resume_organization(text, text, text, text) to tollgate_api;
