-- When a zone's clock was put forward or back after p_after and by p_until at the latest: halved down to the microsecond. The
-- caller knows that it was. Reads nothing.
create or replace function tollgate.clock_change(p_after timestamptz, p_until timestamptz, p_time_zone text) returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_offset constant interval := tollgate.clock_offset(p_after, p_time_zone);
  v_low    timestamptz := p_after;
  v_high   timestamptz := p_until;
  v_middle timestamptz;
begin
  while v_high - v_low > interval '1 microsecond' loop
    v_middle := v_low + (v_high - v_low) / 2;
    if tollgate.clock_offset(v_middle, p_time_zone) = v_offset then
      v_low := v_middle;
    else
      v_high := v_middle;
    end if;
  end loop;
  return v_high;
end
$$;
