-- Adds a user to an organization as 'member' or 'admin', or changes what he is there.
-- A key makes an admin only if it could do all that he may, with every scope and without an end: else whoever has
-- organization:write alone could take any scope, and for good, by making himself an admin.
-- Outcomes: member_set · not_an_admin · organization_unknown · key_below_admin · member_elsewhere (a user belongs to one organization; which other
-- is not told) · last_admin (it would leave none; an operator may) · app_table_refused (the app's own table asks for more than an
-- id, an organization and a role).
-- Locks: the organization, under which its admins are counted and the actor's own right is asked for, then the profile.
-- A second run finds him as he is to be: of an admin's nothing is written then, of an operator's that he asked.
-- user_profiles may be the app's own table, with ids that are uuids: their values are made from its row type.
create or replace function tollgate.set_member(
  p_actor text, p_organization text, p_user text, p_role text, p_reason text, p_request_id text
) returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  c_scopes  constant text[] := '{jobs:read,jobs:write,tokens:read,tokens:write,organization:read,organization:write}';
  v_given   public.user_profiles;
  v_before  record;
  v_table   text;
  v_is_new  boolean;
  v_changes jsonb := '{}';
begin
  perform from public.organizations o where o.id = p_organization for no key update;
  if not tollgate.may_administer(p_actor, p_organization) then
    return 'not_an_admin';
  elsif not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  elsif p_role = 'admin' and left(p_actor, 4) = 'key:' and not exists (
    select from tollgate.api_keys k where k.id = substr(p_actor, 5) and k.scopes @> c_scopes and k.expires_at is null
  ) then
    return 'key_below_admin';
  end if;
  begin
    v_given := jsonb_populate_record(null::public.user_profiles,
                                     jsonb_build_object('id', p_user, 'organization_id', p_organization, 'role', p_role));
    -- A uuid in another spelling than the table's would be one user here and nobody in the sessions, the limits and the audit log.
    if v_given.id::text <> p_user then
      return 'app_table_refused';
    end if;
    insert into public.user_profiles (id, organization_id, role) values (v_given.id, v_given.organization_id, v_given.role)
    on conflict (id) do nothing;
    v_is_new := found;
    if v_is_new then
      v_changes := jsonb_build_object('role', jsonb_build_object('from', null, 'to', p_role));
    else
      select p.organization_id, case p.role::text when 'admin' then 'admin' else 'member' end as role
        into strict v_before
        from public.user_profiles p
       where p.id::text = p_user
         for no key update;
      if v_before.organization_id <> p_organization then
        return 'member_elsewhere';
      elsif v_before.organization_id is null or v_before.role <> p_role then
        if v_before.organization_id is not null and p_role = 'member' and left(p_actor, 9) <> 'operator:'
           and not tollgate.has_another_admin(p_organization, p_user) then
          return 'last_admin';
        end if;
        update public.user_profiles p
           set organization_id = v_given.organization_id, role = v_given.role
         where p.id::text = p_user;
        v_changes := jsonb_build_object('role', jsonb_build_object(
          'from', case when v_before.organization_id is not null then v_before.role end, 'to', p_role));
      end if;
    end if;
  exception when integrity_constraint_violation or invalid_text_representation or string_data_right_truncation then
    return 'app_table_refused';
  end;
  if v_changes <> '{}' or left(p_actor, 9) = 'operator:' then
    insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
    values (p_organization, p_actor, 'setMember', 'user:' || p_user, p_reason, v_changes, p_request_id);
  end if;
  return 'member_set';
end
$$;
grant execute on function tollgate.set_member(text, text, text, text, text, text) to tollgate_api;
