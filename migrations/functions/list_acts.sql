-- The audit log, newest first, of all organizations; before p_before where it is given. Null narrows nothing. For operators: shows
-- nothing to anybody else. Reads only; locks nothing.
-- In plpgsql because that plans by what is asked for: by an index of the organization, of the actor, or backwards through all of it.
create or replace function tollgate.list_acts(
  p_viewer text, p_organization text, p_actor text, p_act text, p_from timestamptz, p_to timestamptz, p_before bigint, p_limit integer
) returns setof tollgate.audit_log
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  if left(p_viewer, 9) is distinct from 'operator:' or not tollgate.may_administer(p_viewer, null) then
    return;
  end if;
  return query
    select l.*
      from tollgate.audit_log l
     where (p_organization is null or l.organization_id = p_organization)
       and (p_actor is null or l.actor = p_actor)
       and (p_act is null or l.act = p_act)
       and (p_from is null or l.created_at >= p_from)
       and (p_to is null or l.created_at < p_to)
       and (p_before is null or l.id < p_before)
     order by l.id desc
     limit p_limit;
end
$$;
grant execute on function tollgate.list_acts(text, text, text, text, timestamptz, timestamptz, bigint, integer) to tollgate_api;
