-- Ends a lease whose first event the subscriber did not take. The lane pauses, so nothing of this organization goes to this
-- subscriber before it: 1 s, 2 s, 4 s, up to 5 minutes, and it is never given up. Answers how often in a row it has failed;
-- null: the lease was somebody else's by then.
-- p_error: the class of what was thrown, nothing of its content.
-- Locks: the lane. A second run changes nothing: the lease is over.
create or replace function tollgate.record_delivery_failure(p_subscriber text, p_organization text, p_lease uuid, p_error text)
  returns integer
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  update tollgate.delivery_lanes l
     set due_at     = clock_timestamp() + least(interval '5 minutes', interval '1 second' * 2 ^ least(l.attempts, 10)),
         lease      = null,
         attempts   = l.attempts + 1,
         last_error = p_error
   where l.organization_id = p_organization and l.subscriber = p_subscriber and l.lease = p_lease
  returning l.attempts
$$;
grant execute on function tollgate.record_delivery_failure(text, text, uuid, text) to tollgate_worker;
