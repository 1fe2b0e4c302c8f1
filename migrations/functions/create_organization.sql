-- Makes an organization, live or test, with its allowance (the row's trigger), its calendar in its own zone, and the audit row.
-- Outcomes: created · not_an_operator · key_reused · plan_unknown · time_zone_unknown · organization_exists · app_table_refused (the
-- app's own table asks for more than an id, a name and a plan). A refusal leaves no trace.
-- Locks: the request (an advisory lock on who asks and his key: its row names an organization that is not there yet), then
-- its own new rows.
-- A second run of the same request finds the first one's answer, whichever id it names.
create or replace function tollgate.create_organization(
  p_actor        text,
  p_organization text,
  p_name         text,
  p_plan         text,
  p_mode         text,
  p_time_zone    text,
  p_reason       text,
  p_key          text,
  p_request_hash bytea,
  p_request_id   text
) returns table (outcome text, is_repeat boolean, answer jsonb)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_origin tollgate.organization_origins;
  v_table  text;
begin
  is_repeat := false;
  if not tollgate.is_operator(p_actor) then
    outcome := 'not_an_operator';
    return next;
    return;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('tollgate.create_organization ' || p_actor || ' ' || p_key, 0));
  select o.* into v_origin from tollgate.organization_origins o where o.actor = p_actor and o.key = p_key;
  if found then
    is_repeat := v_origin.request_hash = p_request_hash;
    outcome := case when is_repeat then 'created' else 'key_reused' end;
    answer := case when is_repeat then v_origin.answer end;
    return next;
    return;
  end if;
  outcome := case
    when not exists (select from tollgate.current_allowances a where a.plan = p_plan) then 'plan_unknown'
    when not exists (select from pg_timezone_names z where z.name = p_time_zone) then 'time_zone_unknown'
  end;
  if outcome is not null then
    return next;
    return;
  end if;

  -- In one statement, so that the trigger, which runs when it ends, finds the calendar's zone.
  begin
    with created as (
      insert into public.organizations (id, name, plan) values (p_organization, p_name, p_plan)
      on conflict (id) do nothing
      returning id
    )
    insert into tollgate.billing_cycles (organization_id, anchor, time_zone)
    select c.id, clock_timestamp(), p_time_zone from created c;
    if not found then
      outcome := 'organization_exists';
      return next;
      return;
    end if;
  exception when integrity_constraint_violation or string_data_right_truncation then
    get stacked diagnostics v_table = table_name;
    if v_table not in ('organizations', '') then
      raise;
    end if;
    outcome := 'app_table_refused';
    return next;
    return;
  end;
  if p_mode = 'test' then
    insert into tollgate.test_organizations (organization_id) values (p_organization);
  end if;
  select jsonb_build_object('id', c.organization_id, 'name', p_name, 'plan', p_plan, 'mode', p_mode, 'timeZone', p_time_zone,
                            'createdAt', c.anchor)
    into strict answer
    from tollgate.billing_cycles c
   where c.organization_id = p_organization;
  insert into tollgate.organization_origins (organization_id, actor, key, request_hash, answer)
  values (p_organization, p_actor, p_key, p_request_hash, answer);
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'createOrganization', p_organization, p_reason,
          jsonb_build_object('plan', p_plan, 'mode', p_mode, 'timeZone', p_time_zone), p_request_id);
  outcome := 'created';
  return next;
end
$$;
grant execute on function tollgate.create_organization(text, text, text, text, text, text, text, text, bytea, text) to tollgate_api;
