-- Forgets a subscriber that no code delivers to any more, and with it what it has not been given. The owner's own tool.
-- Locks: its row, lanes and deliveries. A second run finds nothing.
create or replace function tollgate.remove_subscriber(p_name text)
  returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  delete from tollgate.subscribers s where s.name = p_name
$$;
