-- Gives each event that is not routed yet its deliveries, one for each subscriber that wants its kind, and wakes their lanes.
-- One at a time in the database: a second router would pass over the first one's rows and could let a lane see an event
-- before the one that was written before it.
--
-- The rule that the order rests on: an event that was committed before another was written has the smaller id, and every
-- snapshot that sees the later one sees it too. So, by id within what one snapshot sees, no effect goes before its cause. Ids
-- of one balance or job are taken under its lock, which is kept to the commit: they come in the order of what happened. Of
-- two events whose transactions overlapped and shared no lock neither came first; they go as they become visible, and a late
-- one is not passed over, because it is not routed yet.
--
-- Locks: the advisory lock tollgate.route_outbox, tried and never waited for; then lanes in key order, each of which others
-- keep for one short statement. A second run finds them routed.
create or replace function tollgate.route_events(p_limit integer)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
begin
  if not exists (select from tollgate.outbox e where e.routed_at is null) then
    return;
  end if;
  if not pg_try_advisory_xact_lock(hashtext('tollgate.route_outbox')) then
    return;
  end if;

  -- A new statement, and so a snapshot that was taken under the lock.
  with routed as (
    update tollgate.outbox e
       set routed_at = clock_timestamp()
     where e.id in (select f.id from tollgate.outbox f where f.routed_at is null order by f.id limit p_limit)
    returning e.id, e.organization_id, e.kind, e.created_at
  ), marked as (
    insert into tollgate.deliveries (organization_id, subscriber, event_id, event_at)
    select r.organization_id, s.name, r.id, r.created_at
      from routed r
      join tollgate.subscribers s on r.kind = any (s.kinds)
    returning organization_id, subscriber
  )
  insert into tollgate.delivery_lanes as l (organization_id, subscriber, due_at)
  select distinct m.organization_id, m.subscriber, clock_timestamp()
    from (select distinct m.organization_id, m.subscriber from marked m) m
   order by m.organization_id, m.subscriber
  -- A lane that is leased, or pauses after a failure, stays so.
  on conflict (organization_id, subscriber) do update
     set due_at = excluded.due_at
   where l.due_at = 'infinity';
end
$$;
