-- The ledger as people read it: one row for each entry, from an account to an account, with what the balance was after it.
-- Runs with its reader's rights. Conditions on organization_id, token_type and block (the number of the block's first entry)
-- use the primary key; for a range of entry numbers take tollgate.entries_between.
create or replace view tollgate.ledger_entries with (security_invoker = true) as
  select b.organization_id,
         b.token_type,
         b.first_entry + e.position - 1 as entry_number,
         case e.code when 'g' then 'grant' when 'h' then 'hold' when 'c' then 'capture' when 'r' then 'release' when 'l' then 'lapse'
                     when 'e' then 'expire' when 'f' then 'refund' when 'o' then 'debt' when 'p' then 'debt_paid' else 'adjustment' end as kind,
         case when e.code = 'g' then 'outside' when e.code in ('h', 'e', 'd', 'p') then 'available' when e.code in ('c', 'r', 'l') then 'held'
              when e.code = 'f' then 'consumed' when e.code = 'u' then 'adjusted' else 'debt' end as from_account,
         case when e.code in ('g', 'r', 'l', 'f', 'u') then 'available' when e.code = 'h' then 'held' when e.code in ('c', 'o') then 'consumed'
              when e.code = 'e' then 'expired' when e.code = 'd' then 'adjusted' else 'debt' end as to_account,
         e.amount,
         b.available_before + e.available_moved as available_after,
         b.held_before      + e.held_moved      as held_after,
         b.owed_before      + e.owed_moved      as owed_after,
         e.hold_id,
         e.grant_id,
         e.actor,
         e.effective_at,
         b.created_at,
         b.first_entry as block
    from tollgate.ledger_blocks b
   cross join lateral (
     select m.*,
            (sum(case when m.code in ('g', 'r', 'l', 'f', 'u') then m.amount when m.code in ('h', 'e', 'd', 'p') then - m.amount else 0 end) over entries)::bigint as available_moved,
            (sum(case when m.code = 'h' then m.amount when m.code in ('c', 'r', 'l') then - m.amount else 0 end) over entries)::bigint as held_moved,
            (sum(case when m.code = 'o' then m.amount when m.code = 'p' then - m.amount else 0 end) over entries)::bigint as owed_moved
       from (select k.position, k.code, k.hold_id, k.grant_id,
                    coalesce(k.amount, b.amounts[1]) as amount,
                    coalesce(k.actor, b.actors[1]) as actor,
                    coalesce(k.effective_at, b.effective_at) as effective_at
               from unnest(string_to_array(b.kinds, null), b.amounts, b.hold_ids, b.grant_ids, b.actors, b.effective_ats)
                      with ordinality as k (code, amount, hold_id, grant_id, actor, effective_at, position)) m
     window entries as (order by m.position rows unbounded preceding)) e;

grant select on tollgate.ledger_entries to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor;

-- The entries of one balance from p_from to p_to, both included, in order, by the primary key of the blocks. Runs with its
-- caller's rights and policies. Reads only; locks nothing.
create or replace function tollgate.entries_between(p_organization text, p_token_type text, p_from bigint, p_to bigint)
  returns setof tollgate.ledger_entries
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select e.*
    from tollgate.ledger_entries e
   where e.organization_id = p_organization and e.token_type = p_token_type
     and e.block between (select coalesce(max(b.first_entry), 1)
                            from tollgate.ledger_blocks b
                           where b.organization_id = p_organization and b.token_type = p_token_type and b.first_entry <= p_from)
                     and p_to
     and e.entry_number between p_from and p_to
   order by e.entry_number
$$;
grant execute on function tollgate.entries_between(text, text, bigint, bigint) to tollgate_api, tollgate_worker, tollgate_auditor;
