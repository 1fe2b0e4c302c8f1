-- What stands behind the view public.ai_tokens (functions/ai_tokens.sql): balances, the grants they are made of, the
-- holds on them, what is owed, and the ledger that all of it must equal.
--
-- Two rules for speed, both measured (docs/decisions/0004): hot rows leave half of their page free, and no index stands
-- on a column that a movement changes, so that every update stays on its page.

-- The fixed lock row of an organization and a token type. Every movement takes it first. A movement's columns change
-- through tollgate.post_movements only.
create table tollgate.balances (
  organization_id   text        not null references public.organizations (id),
  token_type        text        not null,
  available         bigint      not null default 0,
  held              bigint      not null default 0,
  owed              bigint      not null default 0,
  used_in_period    bigint      not null default 0,
  allocated         bigint      not null default 0,
  granted_in_period bigint      not null default 0,
  period_start      timestamptz not null,
  refresh_date      timestamptz not null,
  settled_through   timestamptz not null,
  next_change_at    timestamptz not null,
  last_entry        bigint      not null default 0,
  primary key (organization_id, token_type),
  constraint balances_available_is_not_negative check (available >= 0),
  constraint balances_held_is_not_negative check (held >= 0),
  constraint balances_owed_is_not_negative check (owed >= 0),
  constraint balances_allocated_is_not_negative check (allocated >= 0),
  constraint balances_period_has_an_end check (refresh_date > period_start)
) with (fillfactor = 50);

comment on column tollgate.balances.settled_through is 'Time has been settled up to here: no open hold expires at or before it.';
comment on column tollgate.balances.next_change_at is 'Never later than the next lapse, expiry or period end. Before it, the row is exact.';
comment on column tollgate.balances.granted_in_period is 'The largest allowance granted in this period: switching plans to and fro mints nothing.';

-- An amount of tokens with a source. remaining is what is neither held nor gone: over a balance it adds up to available.
create table tollgate.grants (
  organization_id text        not null,
  id              bigint      generated always as identity,
  token_type      text        not null,
  source          text        not null,
  priority        integer     not null default 100,
  is_paid         boolean     not null default false,
  amount          bigint      not null,
  remaining       bigint      not null,
  expired         bigint      not null default 0,
  period_start    timestamptz,
  expires_at      timestamptz,
  created_at      timestamptz not null default clock_timestamp(),
  primary key (organization_id, id),
  foreign key (organization_id, token_type) references tollgate.balances (organization_id, token_type),
  constraint grants_source_is_known check (source in ('allowance', 'upgrade', 'purchase', 'promotion', 'reward', 'adjustment')),
  constraint grants_amount_is_positive check (amount > 0),
  constraint grants_remaining_within_amount check (remaining >= 0 and expired >= 0 and remaining + expired <= amount),
  constraint grants_of_a_plan_name_their_period check ((source in ('allowance', 'upgrade')) = (period_start is not null))
) with (fillfactor = 70);
create index grants_burn_idx on tollgate.grants (organization_id, token_type, id);
-- I7: a period's allowance is applied once.
create unique index grants_one_allowance_per_period on tollgate.grants (organization_id, token_type, period_start) where source = 'allowance';

-- Tokens set aside. A hold keeps what it took from which grant, in burn order, so that a capture charges a prefix of it
-- and everything else goes back where it came from.
create table tollgate.holds (
  organization_id text        not null,
  id              text        not null,
  token_type      text        not null,
  feature         text        not null,
  amount          bigint      not null,
  captured        bigint      not null default 0,
  state           text        not null default 'held',
  grant_ids       bigint[]    not null,
  grant_amounts   bigint[]    not null,
  principal       text        not null,
  job_id          text,
  created_at      timestamptz not null,
  expires_at      timestamptz not null,
  ended_at        timestamptz,
  primary key (organization_id, id),
  -- Ids with a colon are the job functions' own: a hold taken again, and one taken for a late charge.
  constraint holds_id_is_an_id check (id ~ '^[A-Za-z0-9_-]{1,64}$' or coalesce(id in ('again:' || job_id, 'late:' || job_id), false)),
  constraint holds_amount_is_positive check (amount > 0),
  constraint holds_state_is_known check (state in ('held', 'captured', 'released', 'lapsed')),
  constraint holds_captured_within_amount check (captured between 0 and amount),
  constraint holds_captured_names_the_charge check ((state = 'captured') = (captured > 0)),
  constraint holds_end_is_dated check ((state = 'held') = (ended_at is null)),
  constraint holds_say_what_they_took check (cardinality(grant_ids) = cardinality(grant_amounts) and cardinality(grant_ids) > 0)
) with (fillfactor = 50);
-- Begins with token_type on purpose: an index that begins like the primary key ties with it on an empty table, and
-- look-ups by id then scan the organization. No foreign key to balances: the balance row is locked in the same
-- transaction by the only functions that can insert here, and the check would cost each hold another look-up.
create index holds_lapse_idx on tollgate.holds (token_type, organization_id, expires_at);

-- Delivered work that the balance did not cover. Later grants pay it first.
create table tollgate.debts (
  organization_id text        not null,
  id              bigint      generated always as identity,
  token_type      text        not null,
  amount          bigint      not null,
  open_amount     bigint      not null,
  job_id          text,
  created_at      timestamptz not null,
  primary key (organization_id, id),
  foreign key (organization_id, token_type) references tollgate.balances (organization_id, token_type),
  constraint debts_amount_is_positive check (amount > 0),
  constraint debts_open_within_amount check (open_amount between 0 and amount)
);

-- The ledger. One row moves an amount from one account to another, so it balances by construction; the chart of accounts
-- is the check constraint. Numbered without gaps per balance. Appended to by tollgate.post_movements only.
create table tollgate.ledger_entries (
  organization_id text        not null,
  token_type      text        not null,
  entry_number    bigint      not null,
  kind            text        not null,
  from_account    text        not null,
  to_account      text        not null,
  amount          bigint      not null,
  available_after bigint      not null,
  held_after      bigint      not null,
  owed_after      bigint      not null,
  hold_id         text,
  grant_id        bigint,
  actor           text        not null,
  effective_at    timestamptz not null,
  created_at      timestamptz not null default clock_timestamp(),
  primary key (organization_id, token_type, entry_number),
  constraint ledger_entries_amount_is_positive check (amount > 0),
  constraint ledger_entries_after_is_not_negative check (available_after >= 0 and held_after >= 0 and owed_after >= 0),
  constraint ledger_entries_chart_of_accounts check ((kind, from_account, to_account) in (
    ('grant',      'outside',   'available'),
    ('hold',       'available', 'held'),
    ('capture',    'held',      'consumed'),
    ('release',    'held',      'available'),
    ('lapse',      'held',      'available'),
    ('expire',     'available', 'expired'),
    ('adjustment', 'adjusted',  'available'),
    ('adjustment', 'available', 'adjusted'),
    ('debt',       'debt',      'consumed'),
    ('debt_paid',  'available', 'debt')
  ))
);

-- What a state change hands to tollgate.post_movements: the kind, and for an adjustment the direction, name the accounts.
create type tollgate.movement as (
  organization_id text,
  token_type      text,
  kind            text,
  from_account    text,
  to_account      text,
  amount          bigint,
  hold_id         text,
  grant_id        bigint,
  actor           text,
  effective_at    timestamptz
);

alter table tollgate.balances       enable row level security;
alter table tollgate.balances       force  row level security;
alter table tollgate.grants         enable row level security;
alter table tollgate.grants         force  row level security;
alter table tollgate.holds          enable row level security;
alter table tollgate.holds          force  row level security;
alter table tollgate.debts          enable row level security;
alter table tollgate.debts          force  row level security;
alter table tollgate.ledger_entries enable row level security;
alter table tollgate.ledger_entries force  row level security;

-- The balances row is what every movement must pass through, so the list of organizations is compared here, for the
-- money functions too; on the other tables the functions' own check suffices (1.2 to 1.3 times slower otherwise).
create policy ledger_moves_balances on tollgate.balances for all to tollgate_ledger
  using (organization_id = any ((select tollgate.current_organizations())::text[]))
  with check (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy tenant_reads_balances on tollgate.balances for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_balances on tollgate.balances for select to tollgate_auditor using (true);
create policy service_reads_balances on tollgate.balances for select to service_role using (true);
create policy member_reads_balances on tollgate.balances for select to authenticated
  using (organization_id in (select p.organization_id from public.user_profiles p where p.id::text = (select auth.uid()::text)));

create policy ledger_writes_grants  on tollgate.grants         for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_holds   on tollgate.holds          for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_debts   on tollgate.debts          for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_entries on tollgate.ledger_entries for all to tollgate_ledger using (true) with check (true);
create policy tenant_reads_grants  on tollgate.grants         for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy tenant_reads_holds   on tollgate.holds          for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy tenant_reads_debts   on tollgate.debts          for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy tenant_reads_entries on tollgate.ledger_entries for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_grants  on tollgate.grants         for select to tollgate_auditor using (true);
create policy auditor_reads_holds   on tollgate.holds          for select to tollgate_auditor using (true);
create policy auditor_reads_debts   on tollgate.debts          for select to tollgate_auditor using (true);
create policy auditor_reads_entries on tollgate.ledger_entries for select to tollgate_auditor using (true);

grant select, insert, update on tollgate.balances, tollgate.grants, tollgate.holds, tollgate.debts to tollgate_ledger;
grant select, insert on tollgate.ledger_entries to tollgate_ledger;
grant select on tollgate.balances, tollgate.grants, tollgate.holds, tollgate.debts, tollgate.ledger_entries
  to tollgate_api, tollgate_worker, tollgate_auditor;
-- The view runs with its reader's rights. Without usage on the schema nobody of these can name the table itself.
grant select on tollgate.balances to authenticated, service_role;
