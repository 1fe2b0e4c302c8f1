-- The first instant at which a zone's clock shows p_clock or later. PostgreSQL's own `at time zone` answers the second of two where
-- that clock time comes twice, and an instant after the change where it is skipped; a day that began so would end in a wrong one.
-- Changes of one clock that are less than two days apart are not told apart: there are none since clocks are kept by law.
-- Reads nothing.
create or replace function tollgate.clock_reaches(p_clock timestamp, p_time_zone text) returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_as_utc constant timestamptz := p_clock at time zone 'UTC';
  v_before constant interval := tollgate.clock_offset(v_as_utc - interval '36 hours', p_time_zone);
  v_by_old constant timestamptz := v_as_utc - v_before;
  v_after  constant interval := tollgate.clock_offset(v_by_old, p_time_zone);
  v_by_new constant timestamptz := v_as_utc - v_after;
begin
  if v_after = v_before then
    return v_by_old;
  elsif v_after < v_before or tollgate.clock_offset(v_by_new, p_time_zone) = v_after then
    return v_by_new;
  end if;
  -- Skipped: by the new clock it would have been before the change, by the old one after it.
  return tollgate.clock_change(v_by_new, v_by_old, p_time_zone);
end
$$;
