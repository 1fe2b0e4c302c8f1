-- Makes a subscriber known: from now on each event of these kinds is delivered to it, and events that were written but not
-- routed before. Every worker says it at its start. Kinds only ever come on top: while versions are mixed, an old worker
-- that starts again must not make the new ones' subscriber deaf. Kinds that the code no longer wants it lets pass.
-- Locks: the subscriber's row. A second run changes nothing.
create or replace function tollgate.register_subscriber(p_name text, p_kinds text[])
  returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  insert into tollgate.subscribers as s (name, kinds)
  values (p_name, p_kinds)
  on conflict (name) do update
     set kinds = (select array_agg(distinct k.kind order by k.kind) from unnest(s.kinds || excluded.kinds) as k (kind))
   where not s.kinds @> excluded.kinds
$$;
grant execute on function tollgate.register_subscriber(text, text[]) to tollgate_worker;
