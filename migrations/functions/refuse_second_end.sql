-- A hold ends once (I4), also for whoever comes with plain SQL: what has ended stays as it ended.
create or replace function tollgate.refuse_second_end() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'tollgate: hold % has ended as %; a hold ends once', old.id, old.state
    using errcode = 'restrict_violation';
end
$$;

-- The condition is evaluated without a call, so an ordinary capture pays next to nothing for it.
create or replace trigger holds_end_once
  before update on tollgate.holds
  for each row
  when (old.state <> 'held' and (new.state, new.captured, new.amount) is distinct from (old.state, old.captured, old.amount))
  execute function tollgate.refuse_second_end();
