-- How much a hold has grown since it was placed. Reads only; locks nothing.
create or replace function tollgate.grown_by(p_organization text, p_hold text) returns bigint
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce(sum(s.amount), 0)::bigint
    from tollgate.hold_steps s
   where s.organization_id = p_organization and s.hold_id = p_hold and s.verb in ('grow', 'draw')
$$;
