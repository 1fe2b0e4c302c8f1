-- Locks every balance that an organization has, or may have by the catalogue: the missing ones are made, so that none comes up beside a
-- change that concerns all of them. Answers the instant that the rest of the call uses.
-- Locks: its balances, by tollgate.lock_balances.
-- A second run in the same transaction holds the locks already.
create or replace function tollgate.lock_organization(p_organization text)
  returns timestamptz
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_token_types text[];
begin
  perform set_config('tollgate.organizations', p_organization, true);
  select array_agg(t.token_type) into v_token_types
    from (select a.token_type from tollgate.current_allowances a
          union
          select b.token_type from tollgate.balances b where b.organization_id = p_organization) t;
  return tollgate.lock_balances(array_fill(p_organization, array[cardinality(v_token_types)]), v_token_types);
end
$$;
