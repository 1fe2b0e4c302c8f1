-- Notes that these keys were used just now; "just now" is some seconds ago, because callers gather. Unknown ids are left out.
-- Locks: the keys, in the order of their ids. A second run notes the same, a moment later.
create or replace function tollgate.note_key_use(p_ids text[]) returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  update tollgate.api_keys k
     set last_used_at = clock_timestamp()
    from (select u.id from tollgate.api_keys u where u.id = any (p_ids) order by u.id for no key update) used
   where k.id = used.id
$$;
grant execute on function tollgate.note_key_use(text[]) to tollgate_api;
