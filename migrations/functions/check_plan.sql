-- Refuses a plan that the catalogue does not have, and says which it has. Reads only.
create or replace function tollgate.check_plan(p_plan text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from tollgate.current_allowances a where a.plan = p_plan) then
    raise exception 'tollgate: unknown plan "%"; the catalogue has: %', p_plan,
      (select string_agg(distinct a.plan, ', ') from tollgate.current_allowances a)
      using errcode = 'check_violation';
  end if;
end
$$;
