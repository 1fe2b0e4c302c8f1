-- The first period end after p_after: anchor + n months, counted in the organization's own zone (so the clock time stays
-- through daylight saving), clamped to the end of a short month and back again after it. Pure; locks nothing.
create or replace function tollgate.next_boundary(p_anchor timestamptz, p_time_zone text, p_after timestamptz)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_anchor timestamp := p_anchor at time zone p_time_zone;
  v_after  timestamp := p_after at time zone p_time_zone;
  -- Starts one month short of the calendar's distance, because a clamped or shifted boundary may lie before its month's
  -- nominal day; the loop ends after three steps at most.
  v_months integer := (extract(year from v_after)::integer - extract(year from v_anchor)::integer) * 12
                    + extract(month from v_after)::integer - extract(month from v_anchor)::integer - 1;
  v_boundary timestamptz;
begin
  loop
    v_boundary := (v_anchor + v_months * interval '1 month') at time zone p_time_zone;
    exit when v_boundary > p_after;
    v_months := v_months + 1;
  end loop;
  return v_boundary;
end
$$;
