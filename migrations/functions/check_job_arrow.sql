-- The arrows of a job's life, and no others.
create or replace function tollgate.check_job_arrow() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if (old.state, new.state) not in (
       ('admitted', 'running'), ('admitted', 'refused'), ('admitted', 'withdrawn'),
       ('running', 'delivered'), ('running', 'refunded'),
       ('delivered', 'charged')) then
    raise exception 'tollgate: job % cannot go from % to %', old.id, old.state, new.state
      using errcode = 'restrict_violation';
  end if;
  return new;
end
$$;

create or replace trigger jobs_move_along_arrows
  before update of state on tollgate.jobs
  for each row when (old.state <> new.state)
  execute function tollgate.check_job_arrow();
