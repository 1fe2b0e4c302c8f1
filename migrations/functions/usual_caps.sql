-- How many holds of a token type, and how many unended jobs, an organization may have where its rules do not say otherwise. The default
-- of balances.most_open_holds is the first of them.
create or replace function tollgate.usual_caps(out open_holds integer, out open_jobs integer)
  language sql immutable
  set search_path = pg_catalog, pg_temp
as $$
  select 10000, 1000
$$;
