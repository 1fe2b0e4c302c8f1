-- Whether a principal is an operator whose credential works: 'operator:ID'. Reads only; locks nothing.
create or replace function tollgate.is_operator(p_actor text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select left(p_actor, 9) = 'operator:' and tollgate.may_administer(p_actor, null)
$$;
