-- The entries of one balance from p_from to p_to, both included, in order. Runs with its caller's rights and policies.
-- Reads only; locks nothing.
create or replace function tollgate.entries_between(p_organization text, p_token_type text, p_from bigint, p_to bigint)
  returns setof tollgate.ledger_entries
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select e.*
    from tollgate.ledger_entries e
   where e.organization_id = p_organization and e.token_type = p_token_type
     and e.entry_number between p_from and p_to
   order by e.entry_number
$$;
grant execute on function tollgate.entries_between(text, text, bigint, bigint) to tollgate_api, tollgate_worker, tollgate_auditor;
