-- Gives an organization another name.
-- Outcomes: renamed · not_an_admin · organization_unknown · app_table_refused.
-- Locks: the organization. A second run finds the name as it is to be: of an admin's nothing is written then, of an operator's that
-- he asked.
create or replace function tollgate.rename_organization(p_actor text, p_organization text, p_name text, p_reason text, p_request_id text)
  returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_name text;
begin
  if not tollgate.may_administer(p_actor, p_organization) then
    return 'not_an_admin';
  end if;
  select o.name into v_name from public.organizations o where o.id = p_organization for no key update;
  if not found then
    return 'organization_unknown';
  end if;
  if v_name is distinct from p_name then
    begin
      update public.organizations o set name = p_name where o.id = p_organization;
    exception when integrity_constraint_violation or invalid_text_representation or string_data_right_truncation then
      return 'app_table_refused';
    end;
  end if;
  if v_name is distinct from p_name or left(p_actor, 9) = 'operator:' then
    insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
    values (p_organization, p_actor, 'renameOrganization', p_organization, p_reason,
            case when v_name is distinct from p_name then jsonb_build_object('name', jsonb_build_object('from', v_name, 'to', p_name)) else '{}' end,
            p_request_id);
  end if;
  return 'renamed';
end
$$;
grant execute on function tollgate.rename_organization(text, text, text, text, text) to tollgate_api;
