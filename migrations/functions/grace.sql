-- How long paid and given tokens live on that come back after their grant has expired. In hours: a number of days would
-- depend on the session's zone. Pure; locks nothing.
create or replace function tollgate.grace() returns interval
  language sql immutable
  set search_path = pg_catalog, pg_temp
as $$
  select interval '168 hours'
$$;
