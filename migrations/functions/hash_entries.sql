-- The hash of a range of entries on top of the hash before it, and how many entries there are:
--   sha256(p_previous_hash || the lines of the entries, in the order of their numbers)
-- A line is UTF-8 and is made of every column, in this order, separated by one tab and ended by one line feed:
--   organization_id, token_type, entry_number, kind, from_account, to_account, amount, available_after, held_after,
--   owed_after, hold_id, grant_id, actor, effective_at, created_at
-- Numbers are decimal digits; instants are whole microseconds since 1970-01-01T00:00:00Z. In text a backslash, tab, line
-- feed or carriage return is written \\, \t, \n, \r; a null is \N. So no two ledgers give the same lines. Nothing in it
-- depends on a setting of the session, its time zone or the version of PostgreSQL. docs/guides/LEDGER.md computes it outside.
-- Runs with its caller's rights and policies. Reads only; locks nothing.
create or replace function tollgate.hash_entries(p_previous_hash bytea, p_organization text, p_token_type text, p_from bigint, p_to bigint)
  returns table (entries bigint, hash bytea)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  -- chr() and no escapes: how a string literal reads a backslash is a setting of the session.
  return query
    select count(*),
           sha256(p_previous_hash || convert_to(coalesce(string_agg(concat_ws(chr(9),
             l.texts[1], l.texts[2], e.entry_number, l.texts[3], l.texts[4], l.texts[5],
             e.amount, e.available_after, e.held_after, e.owed_after,
             l.texts[6], coalesce(e.grant_id::text, chr(92) || 'N'), l.texts[7],
             (extract(epoch from e.effective_at) * 1000000)::bigint,
             (extract(epoch from e.created_at) * 1000000)::bigint) || chr(10), '' order by e.entry_number), ''), 'UTF8'))
      from tollgate.entries_between(p_organization, p_token_type, p_from, p_to) e
     cross join lateral (
       select array_agg(coalesce(
                replace(replace(replace(replace(t.text, chr(92), chr(92) || chr(92)), chr(9), chr(92) || 't'),
                                chr(10), chr(92) || 'n'), chr(13), chr(92) || 'r'),
                chr(92) || 'N') order by t.position) as texts
         from unnest(array[e.organization_id, e.token_type, e.kind, e.from_account, e.to_account, e.hold_id, e.actor])
                with ordinality as t (text, position)) l;
end
$$;
grant execute on function tollgate.hash_entries(bytea, text, text, bigint, bigint) to tollgate_auditor;
