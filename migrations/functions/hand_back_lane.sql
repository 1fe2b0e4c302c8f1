-- Ends a lease whose page has been delivered, or whose holder drains: the lane is due at once, for anybody. Whether anything
-- is left in it, the next claim finds out, under the lane's lock.
-- Locks: the lane. A second run, or one after the lease was lost, changes nothing.
create or replace function tollgate.hand_back_lane(p_subscriber text, p_organization text, p_lease uuid)
  returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  update tollgate.delivery_lanes l
     set due_at = clock_timestamp(), lease = null
   where l.organization_id = p_organization and l.subscriber = p_subscriber and l.lease = p_lease
$$;
grant execute on function tollgate.hand_back_lane(text, text, uuid) to tollgate_worker;
