-- Seals: each covers a range of one balance's entries with a hash over the seal before it and over every entry, so that
-- nothing sealed can be changed, taken out or put in without changing every hash that follows.
--
-- One index: the next seal's first entry follows from the last seal, so two sealers meet in this key; the latest seal and
-- the seal of an entry are found by it. No foreign key to balances: its check would lock the balance's row, the hottest
-- there is, for something that never deletes.
create table tollgate.ledger_seals (
  organization_id text        not null,
  token_type      text        not null,
  seal_number     bigint      not null,
  first_entry     bigint      not null,
  last_entry      bigint      not null,
  previous_hash   bytea       not null,
  hash            bytea       not null,
  sealed_at       timestamptz not null default clock_timestamp(),
  primary key (organization_id, token_type, first_entry),
  constraint ledger_seals_are_numbered_from_1 check (seal_number > 0),
  constraint ledger_seals_cover_at_most_1000 check (first_entry > 0 and last_entry between first_entry and first_entry + 999),
  constraint ledger_seals_hashes_are_sha256 check (length(previous_hash) = 32 and length(hash) = 32)
);

alter table tollgate.ledger_seals enable row level security;
alter table tollgate.ledger_seals force  row level security;

create policy ledger_writes_seals on tollgate.ledger_seals for all to tollgate_ledger using (true) with check (true);
create policy tenant_reads_seals on tollgate.ledger_seals for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_seals on tollgate.ledger_seals for select to tollgate_auditor using (true);

grant select, insert on tollgate.ledger_seals to tollgate_ledger;
grant select on tollgate.ledger_seals to tollgate_api, tollgate_worker, tollgate_auditor;
