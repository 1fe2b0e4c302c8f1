-- Removes up to p_limit events, oldest first, that were written longer ago than p_older_than and have been given to every
-- subscriber. One that somebody still waits for stays, however old. Answers how many went.
-- Locks: the events that go, skipping those that another run has. A second run removes the next ones.
create or replace function tollgate.remove_delivered_events(p_older_than interval, p_limit integer)
  returns integer
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  -- Taken once: compared with clock_timestamp() itself the index on created_at would be read whole.
  v_before  constant timestamptz := clock_timestamp() - p_older_than;
  v_removed integer;
begin
  delete from tollgate.outbox e
   where e.id in (
     select o.id
       from tollgate.outbox o
      where o.created_at < v_before
        and o.routed_at is not null
        and not exists (select from tollgate.deliveries d where d.event_id = o.id)
      order by o.created_at
      limit p_limit
        for update skip locked);
  get diagnostics v_removed = row_count;
  return v_removed;
end
$$;
grant execute on function tollgate.remove_delivered_events(interval, integer) to tollgate_worker;
