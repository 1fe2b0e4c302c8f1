-- Cuts the time from p_from up to p_to (exclusive) into hours, days or months of a zone's clock: where each bucket starts, in order.
-- The first starts at p_from, whatever the clock shows then. At most p_most + 1 starts, so that a caller can tell "too many".
-- - A day or a month starts when the zone's clock first shows its midnight or later (tollgate.clock_reaches). So a day has 23, 24 or
--   25 hours, and a day that a zone skips is none.
-- - An hour ends at the clock's next full hour or when the clock is put forward or back, whichever comes first: the hour that comes
--   twice is two buckets, the one that is skipped is none.
-- A zone that PostgreSQL does not know is an error of its (22023). Reads nothing; locks nothing.
create or replace function tollgate.usage_buckets(p_from timestamptz, p_to timestamptz, p_interval text, p_time_zone text, p_most integer)
  returns timestamptz[]
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_starts timestamptz[] := '{}';
  v_at     timestamptz := p_from;
  v_clock  timestamp;
  v_next   timestamptz;
begin
  while v_at < p_to and cardinality(v_starts) <= p_most loop
    v_starts := v_starts || v_at;
    v_clock := date_trunc(p_interval, v_at at time zone p_time_zone);
    if p_interval = 'hour' then
      v_next := v_at + (v_clock + interval '1 hour' - (v_at at time zone p_time_zone));
      if tollgate.clock_offset(v_next - interval '1 microsecond', p_time_zone) <> tollgate.clock_offset(v_at, p_time_zone) then
        v_next := tollgate.clock_change(v_at, v_next, p_time_zone);
      end if;
    else
      -- More than once where the day was skipped, or where v_at lies in time that came again.
      loop
        v_clock := v_clock + ('1 ' || p_interval)::interval;
        v_next := tollgate.clock_reaches(v_clock, p_time_zone);
        exit when v_next > v_at;
      end loop;
    end if;
    v_at := v_next;
  end loop;
  return v_starts;
end
$$;
grant execute on function tollgate.usage_buckets(timestamptz, timestamptz, text, text, integer) to tollgate_api;
