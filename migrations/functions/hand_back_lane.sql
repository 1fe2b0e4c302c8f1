-- Ends a lease whose page has been delivered, or whose holder drains: the lane is due at once, for anybody, or rests when
-- nothing is left in it.
-- Locks: the lane. A second run, or one after the lease was lost, changes nothing.
create or replace function tollgate.hand_back_lane(p_subscriber text, p_organization text, p_lease uuid)
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
begin
  perform from tollgate.delivery_lanes l
    where l.organization_id = p_organization and l.subscriber = p_subscriber and l.lease = p_lease
      for update;
  if not found then
    return;
  end if;
  -- A new statement, and so a snapshot that was taken under the lock: who routed before it is seen, and who routes after it
  -- finds the lane at rest and wakes it.
  update tollgate.delivery_lanes l
     set lease  = null,
         due_at = case when exists (select from tollgate.deliveries d
                                     where d.organization_id = p_organization and d.subscriber = p_subscriber)
                    then clock_timestamp() else 'infinity' end
   where l.organization_id = p_organization and l.subscriber = p_subscriber;
end
$$;
grant execute on function tollgate.hand_back_lane(text, text, uuid) to tollgate_worker;
