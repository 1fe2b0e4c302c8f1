-- Leases up to p_lanes lanes of a subscriber that are due, longest due first, and answers the oldest p_page events of each,
-- by organization and in the order in which they must be delivered. Nobody else gets events of these organizations for this
-- subscriber until the lane is handed back, fails, or p_lease is over: then whoever claims takes it over, and what was
-- delivered but not marked is delivered again.
-- Routes first. With nothing to do it is two look-ups and writes nothing.
-- Locks: what tollgate.route_events locks; lanes, skipping those that somebody else has at this moment.
-- A second run leases other lanes.
create or replace function tollgate.claim_deliveries(p_subscriber text, p_lanes integer, p_page integer, p_lease interval)
  returns table (organization_id text, lease uuid, event_id bigint, kind text, subject_id text, content jsonb, created_at timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_now           timestamptz;
  v_organizations text[];
begin
  perform tollgate.route_events(1000);

  v_now := clock_timestamp();
  with due as (
    select l.organization_id
      from tollgate.delivery_lanes l
     where l.subscriber = p_subscriber and l.due_at <= v_now
     order by l.due_at
     limit p_lanes
       for update skip locked
  ), leased as (
    update tollgate.delivery_lanes l
       set due_at = v_now + p_lease, lease = gen_random_uuid()
      from due d
     where l.organization_id = d.organization_id and l.subscriber = p_subscriber
    returning l.organization_id
  )
  select array_agg(d.organization_id) into v_organizations from leased d;
  if v_organizations is null then
    return;
  end if;

  -- With a new snapshot, taken under the lanes' locks: the one before could still show what their last holder has marked.
  return query
  select l.organization_id, l.lease, e.id, e.kind, e.subject_id, e.content, e.created_at
    from tollgate.delivery_lanes l
   cross join lateral (
     select d.event_id
       from tollgate.deliveries d
      where d.organization_id = l.organization_id and d.subscriber = l.subscriber
      order by d.event_id
      limit p_page) d
    join tollgate.outbox e on e.id = d.event_id
   where l.organization_id = any (v_organizations) and l.subscriber = p_subscriber
   order by l.organization_id, e.id;

  -- Its holder died after the last mark, or it was emptied by hand.
  update tollgate.delivery_lanes l
     set due_at = 'infinity', lease = null, attempts = 0, last_error = null
   where l.organization_id = any (v_organizations) and l.subscriber = p_subscriber
     and not exists (select from tollgate.deliveries d where d.organization_id = l.organization_id and d.subscriber = l.subscriber);
end
$$;
grant execute on function tollgate.claim_deliveries(text, integer, integer, interval) to tollgate_worker;
