-- How many days an organization keeps prompts and results after a job's end (null: for ever), and idempotency records after their
-- request. Takes effect with the next run of tollgate.apply_retention; what is erased stays erased.
-- Outcomes: set · unchanged · not_an_admin · organization_unknown.
-- Locks: the organization's row of settings. A second run with the same days finds them set, and tells the audit log nothing.
create or replace function tollgate.set_retention(
  p_organization text, p_actor text, p_prompt_days integer, p_result_days integer, p_idempotency_days integer, p_reason text, p_request_id text
) returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_before tollgate.retention_settings;
begin
  if not tollgate.may_administer(p_actor, p_organization) then
    return 'not_an_admin';
  elsif not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  end if;

  insert into tollgate.retention_settings (organization_id) values (p_organization) on conflict (organization_id) do nothing;
  select s.* into strict v_before from tollgate.retention_settings s where s.organization_id = p_organization for update;
  if (v_before.prompt_days, v_before.result_days, v_before.idempotency_days) is not distinct from (p_prompt_days, p_result_days, p_idempotency_days) then
    return 'unchanged';
  end if;
  update tollgate.retention_settings s
     set prompt_days = p_prompt_days, result_days = p_result_days, idempotency_days = p_idempotency_days
   where s.organization_id = p_organization;
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'setRetention', p_organization, p_reason,
          jsonb_build_object(
            'before', jsonb_build_object('promptDays', v_before.prompt_days, 'resultDays', v_before.result_days, 'idempotencyDays', v_before.idempotency_days),
            'after',  jsonb_build_object('promptDays', p_prompt_days, 'resultDays', p_result_days, 'idempotencyDays', p_idempotency_days)),
          p_request_id);
  return 'set';
end
$$;
grant execute on function tollgate.set_retention(text, text, integer, integer, integer, text, text) to tollgate_api;
