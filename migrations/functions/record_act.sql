-- Writes what an operator is about to read to the audit log, before it is answered. p_organization null: what he reads is of no
-- one organization.
-- Outcomes: recorded · not_an_operator · organization_unknown.
-- Locks: nothing. Each run is a row of its own: to read twice is two acts.
create or replace function tollgate.record_act(p_actor text, p_organization text, p_act text, p_reason text, p_request_id text)
  returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not tollgate.is_operator(p_actor) then
    return 'not_an_operator';
  elsif p_organization is not null and not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  end if;
  insert into tollgate.audit_log (organization_id, actor, act, reason, request_id)
  values (p_organization, p_actor, p_act, p_reason, p_request_id);
  return 'recorded';
end
$$;
grant execute on function tollgate.record_act(text, text, text, text, text) to tollgate_api;
