-- How many holds of each token type, and how many unended jobs, an organization may have at once; null: as many as is usual. A cap
-- below what is open ends nothing: nothing more is admitted until there is less.
-- Outcomes: set (with the caps in force) · not_an_operator · organization_unknown.
-- Locks: all balances of the organization (tollgate.lock_organization).
-- A second run sets the same; the audit log says that it was asked for twice.
create or replace function tollgate.set_caps(
  p_actor           text,
  p_organization    text,
  p_most_open_holds integer,
  p_most_open_jobs  integer,
  p_reason          text,
  p_request_id      text
) returns table (outcome text, most_open_holds integer, most_open_jobs integer)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_before tollgate.organization_rules;
begin
  outcome := case
    when not tollgate.is_operator(p_actor) then 'not_an_operator'
    when not exists (select from public.organizations o where o.id = p_organization) then 'organization_unknown'
  end;
  if outcome is not null then
    return next;
    return;
  end if;

  perform tollgate.lock_organization(p_organization);
  select r.* into v_before from tollgate.organization_rules r where r.organization_id = p_organization;
  insert into tollgate.organization_rules (organization_id, most_open_holds, most_open_jobs)
  values (p_organization, p_most_open_holds, p_most_open_jobs)
  on conflict (organization_id) do update
    set most_open_holds = excluded.most_open_holds, most_open_jobs = excluded.most_open_jobs;
  select coalesce(p_most_open_holds, u.open_holds), coalesce(p_most_open_jobs, u.open_jobs) into most_open_holds, most_open_jobs
    from tollgate.usual_caps() u;
  update tollgate.balances b set most_open_holds = set_caps.most_open_holds where b.organization_id = p_organization;
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'setCaps', p_organization, p_reason,
          jsonb_build_object('mostOpenHolds', jsonb_build_object('from', v_before.most_open_holds, 'to', p_most_open_holds),
                             'mostOpenJobs', jsonb_build_object('from', v_before.most_open_jobs, 'to', p_most_open_jobs)),
          p_request_id);
  outcome := 'set';
  return next;
end
$$;
grant execute on function tollgate.set_caps(text, text, integer, integer, text, text) to tollgate_api;
