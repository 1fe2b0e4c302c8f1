-- How far a zone's clock is ahead of UTC at an instant. Reads nothing.
create or replace function tollgate.clock_offset(p_at timestamptz, p_time_zone text) returns interval
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select (p_at at time zone p_time_zone) - (p_at at time zone 'UTC')
$$;
