-- How many of the first p_last entries of a balance took effect before p_at. A binary search, because effective_at never
-- decreases with the entry's number: some twenty look-ups in a million entries, and no index on time.
-- Runs with its caller's rights and policies. Reads only; locks nothing.
create or replace function tollgate.entries_before(p_organization text, p_token_type text, p_last bigint, p_at timestamptz)
  returns bigint
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_low          bigint := 0;
  v_high         bigint := p_last;
  v_middle       bigint;
  v_effective_at timestamptz;
begin
  while v_low < v_high loop
    v_middle := (v_low + v_high + 1) / 2;
    select e.effective_at into strict v_effective_at
      from tollgate.entries_between(p_organization, p_token_type, v_middle, v_middle) e;
    if v_effective_at < p_at then
      v_low := v_middle;
    else
      v_high := v_middle - 1;
    end if;
  end loop;
  return v_low;
end
$$;
