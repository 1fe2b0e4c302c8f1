-- Records that a subscriber has been given an event, and renews the lease where less than half of p_lease_for is left: the
-- caller may count on that half. False: the lease is somebody else's by now; he delivers that event again, and the caller
-- stops.
-- Locks: the lane, then the delivery. A second run answers the same and finds nothing to delete.
create or replace function tollgate.mark_delivered(p_subscriber text, p_organization text, p_lease uuid, p_event bigint, p_lease_for interval)
  returns boolean
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
begin
  perform from tollgate.delivery_lanes l
    where l.organization_id = p_organization and l.subscriber = p_subscriber and l.lease = p_lease
      for update;
  if not found then
    return false;
  end if;
  -- Not with each event: due_at is in an index, and every change leaves a dead entry in it.
  update tollgate.delivery_lanes l
     set due_at = clock_timestamp() + p_lease_for, attempts = 0, last_error = null
   where l.organization_id = p_organization and l.subscriber = p_subscriber
     and (l.due_at < clock_timestamp() + p_lease_for / 2 or l.attempts > 0);
  delete from tollgate.deliveries d
   where d.organization_id = p_organization and d.subscriber = p_subscriber and d.event_id = p_event;
  return true;
end
$$;
grant execute on function tollgate.mark_delivered(text, text, uuid, bigint, interval) to tollgate_worker;
