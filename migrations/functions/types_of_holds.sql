-- The token type of each hold, by position; null where there is no such hold or the row is refused already. A hold keeps its
-- type, so it may be read before the balance is locked. Reads only; locks nothing.
create or replace function tollgate.types_of_holds(p_organizations text[], p_hold_ids text[], p_refusals text[]) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set plan_cache_mode = force_generic_plan
as $$
begin
  return (
    select array_agg(h.token_type order by u.position)
      from unnest(p_organizations, p_hold_ids, p_refusals) with ordinality as u (organization_id, hold_id, refusal, position)
      left join lateral (select l.token_type from tollgate.holds l
                          where l.organization_id = u.organization_id and l.id = u.hold_id and u.refusal is null offset 0) h on true);
end
$$;
