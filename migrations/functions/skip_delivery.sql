-- Gives up one event for one subscriber, and lets what waits behind it go at once. The owner's own tool, for an event that a
-- subscriber will never take. Answers whether there was such a delivery.
-- Locks: the lane, then the delivery. A second run answers false. A worker that is at that event finds its mark unneeded.
create or replace function tollgate.skip_delivery(p_subscriber text, p_organization text, p_event bigint)
  returns boolean
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_skipped boolean;
begin
  perform from tollgate.delivery_lanes l
    where l.organization_id = p_organization and l.subscriber = p_subscriber
      for update;
  delete from tollgate.deliveries d
   where d.organization_id = p_organization and d.subscriber = p_subscriber and d.event_id = p_event;
  v_skipped := found;
  if v_skipped then
    update tollgate.delivery_lanes l
       set due_at = clock_timestamp(), attempts = 0, last_error = null
     where l.organization_id = p_organization and l.subscriber = p_subscriber and l.lease is null;
  end if;
  return v_skipped;
end
$$;
