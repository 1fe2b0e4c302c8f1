-- How far delivery to a subscriber is behind: when the oldest event that it has not been given was written (null: it has been
-- given all), and how many organizations wait for it to take an event that it refused. Reads only; locks nothing.
create or replace function tollgate.delivery_lag(p_subscriber text)
  returns table (oldest_at timestamptz, age interval, failing_organizations bigint)
  language sql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select o.oldest_at, clock_timestamp() - o.oldest_at,
         (select count(*) from tollgate.delivery_lanes l where l.subscriber = p_subscriber and l.attempts > 0)
    from (select least(
            (select min(d.event_at) from tollgate.deliveries d where d.subscriber = p_subscriber),
            -- By id, through the index of those not routed: by created_at every event in store was looked at (118 ms for 200,000).
            (select e.created_at from tollgate.outbox e
              where e.routed_at is null
                -- What it wants is not known before it has registered.
                and coalesce(e.kind = any ((select s.kinds from tollgate.subscribers s where s.name = p_subscriber)::text[]), true)
              order by e.id limit 1)) as oldest_at) o
$$;
grant execute on function tollgate.delivery_lag(text) to tollgate_worker;
