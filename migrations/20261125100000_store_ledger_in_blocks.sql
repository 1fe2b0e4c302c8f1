-- The ledger, one row for each commit and balance (docs/decisions/0004): what a call moved on a balance stands in one block,
-- with arrays of its entries. People and programs read it entry by entry, in the view tollgate.ledger_entries.

create table tollgate.ledger_blocks (
  organization_id  text        not null,
  token_type       text        not null,
  first_entry      bigint      not null,
  last_entry       bigint      not null,
  available_before bigint      not null,
  held_before      bigint      not null,
  owed_before      bigint      not null,
  kinds            text        not null,
  amounts          bigint[]    not null,
  hold_ids         text[],
  grant_ids        bigint[],
  actors           text[]      not null,
  effective_at     timestamptz not null,
  effective_ats    timestamptz[],
  created_at       timestamptz not null default clock_timestamp(),
  primary key (organization_id, token_type, first_entry),
  constraint ledger_blocks_move_something check (length(kinds) = last_entry - first_entry + 1 and 0 < all (amounts))
  -- A block of 128 entries with the ids of holds stays in its page, uncompressed.
) with (toast_tuple_target = 8160);

comment on table tollgate.ledger_blocks is 'Append-only. Read it in tollgate.ledger_entries. amounts and actors with one element say it for every entry of the block; hold_ids and grant_ids are null where no entry names one; effective_at is that of the last entry, effective_ats is null where all have the same.';

comment on column tollgate.ledger_blocks.kinds is 'A letter for each entry: g grant, h hold, c capture, r release, l lapse, e expire, f refund, u adjusted up, d adjusted down, o debt taken up, p debt paid.';

-- What is there already moves over, in blocks of 500. The owner does not see rows under forced row-level security.
alter table tollgate.ledger_entries no force row level security;
insert into tollgate.ledger_blocks
       (organization_id, token_type, first_entry, last_entry, available_before, held_before, owed_before,
        kinds, amounts, hold_ids, grant_ids, actors, effective_at, effective_ats, created_at)
select e.organization_id, e.token_type, min(e.entry_number), max(e.entry_number),
       (array_agg(e.available_before order by e.entry_number))[1],
       (array_agg(e.held_before order by e.entry_number))[1],
       (array_agg(e.owed_before order by e.entry_number))[1],
       string_agg(e.code, '' order by e.entry_number),
       array_agg(e.amount order by e.entry_number),
       array_agg(e.hold_id order by e.entry_number),
       array_agg(e.grant_id order by e.entry_number),
       array_agg(e.actor order by e.entry_number),
       max(e.effective_at),
       array_agg(e.effective_at order by e.entry_number),
       max(e.created_at)
  from (select l.*,
               case l.kind when 'grant' then 'g' when 'hold' then 'h' when 'capture' then 'c' when 'release' then 'r' when 'lapse' then 'l'
                           when 'expire' then 'e' when 'debt' then 'o' when 'debt_paid' then 'p'
                           when 'adjustment' then case l.to_account when 'available' then 'u' else 'd' end end as code,
               lag(l.available_after, 1, 0::bigint) over entries as available_before,
               lag(l.held_after, 1, 0::bigint)      over entries as held_before,
               lag(l.owed_after, 1, 0::bigint)      over entries as owed_before
          from tollgate.ledger_entries l
        window entries as (partition by l.organization_id, l.token_type order by l.entry_number)) e
 group by e.organization_id, e.token_type, (e.entry_number - 1) / 500;
drop table tollgate.ledger_entries;

-- When what a movement leaves behind changes by itself: a hold's lapse, a grant's expiry. Null: never.
alter type tollgate.movement add attribute expires_at timestamptz;

alter table tollgate.ledger_blocks enable row level security;
alter table tollgate.ledger_blocks force  row level security;
create policy ledger_writes_blocks on tollgate.ledger_blocks for all to tollgate_ledger using (true) with check (true);
create policy tenant_reads_blocks  on tollgate.ledger_blocks for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_blocks on tollgate.ledger_blocks for select to tollgate_auditor using (true);
grant select, insert on tollgate.ledger_blocks to tollgate_ledger;
grant select on tollgate.ledger_blocks to tollgate_api, tollgate_worker, tollgate_auditor;
