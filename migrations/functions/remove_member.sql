-- Takes a user out of an organization; the sessions that he still has open nothing from then on. Where the app's own table lets a
-- profile be of no organization, the profile stays, as nobody's; else it goes.
-- Outcomes: removed · not_an_admin · organization_unknown · member_unknown · last_admin (it would leave none; an operator may) ·
-- app_table_refused (the app's own tables still need the profile).
-- Locks: the organization, under which its admins are counted and the actor's own right is asked for, then the profile.
-- A second run finds nobody: member_unknown.
create or replace function tollgate.remove_member(p_actor text, p_organization text, p_user text, p_reason text, p_request_id text)
  returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_role text;
begin
  perform from public.organizations o where o.id = p_organization for no key update;
  if not tollgate.may_administer(p_actor, p_organization) then
    return 'not_an_admin';
  elsif not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  end if;
  select case p.role::text when 'admin' then 'admin' else 'member' end into v_role
    from public.user_profiles p
   where p.id::text = p_user and p.organization_id = p_organization
     for update;
  if not found then
    return 'member_unknown';
  elsif v_role = 'admin' and left(p_actor, 9) <> 'operator:' and not tollgate.has_another_admin(p_organization, p_user) then
    return 'last_admin';
  end if;
  begin
    if exists (select from pg_attribute a
                where a.attrelid = 'public.user_profiles'::regclass and a.attname = 'organization_id' and a.attnotnull) then
      delete from public.user_profiles p where p.id::text = p_user;
    else
      update public.user_profiles p
         set organization_id = null,
             role = (jsonb_populate_record(null::public.user_profiles, jsonb_build_object('role', 'member'))).role
       where p.id::text = p_user;
    end if;
  exception when integrity_constraint_violation or invalid_text_representation or string_data_right_truncation then
    return 'app_table_refused';
  end;
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'removeMember', 'user:' || p_user, p_reason,
          jsonb_build_object('role', jsonb_build_object('from', v_role, 'to', null)), p_request_id);
  return 'removed';
end
$$;
grant execute on function tollgate.remove_member(text, text, text, text, text) to tollgate_api;
