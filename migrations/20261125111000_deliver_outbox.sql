-- Delivery of the outbox (docs/operating/outbox.md, docs/decisions/0009), and the thresholds below which a balance is low.
--
-- An event is routed once: for each subscriber that wants its kind it gets a row of tollgate.deliveries, which is the mark
-- "still to be delivered" and goes when it has been. There is no cursor that could pass over an event: ids are taken before
-- the commit, so a later one can become visible first.

create table tollgate.subscribers (
  name          text        primary key,
  kinds         text[]      not null,
  registered_at timestamptz not null default clock_timestamp(),
  constraint subscribers_name_is_a_name check (name ~ '^[A-Za-z][A-Za-z0-9_-]{0,63}$')
);

-- One organization's events on their way to one subscriber. Whoever leases the lane delivers, alone.
-- due_at: when the lane may be taken: now, after a pause that a failure earned, or when the lease runs out ('infinity' while
-- there is nothing to deliver). One column for all three, so that a lease that a dead worker leaves needs nobody to notice.
create table tollgate.delivery_lanes (
  organization_id text        not null,
  subscriber      text        not null references tollgate.subscribers (name) on delete cascade,
  due_at          timestamptz not null,
  lease           uuid,
  attempts        integer     not null default 0,
  -- The class of what the subscriber threw. Never its message: that can quote what it was given.
  last_error      text,
  primary key (organization_id, subscriber),
  constraint delivery_lanes_attempts_are_counted check (attempts >= 0),
  constraint delivery_lanes_error_is_a_class check (last_error ~ '^[A-Za-z0-9_]{1,64}$')
);
create index delivery_lanes_due_idx on tollgate.delivery_lanes (subscriber, due_at);
create index delivery_lanes_failing_idx on tollgate.delivery_lanes (subscriber) where attempts > 0;

create table tollgate.deliveries (
  organization_id text        not null,
  subscriber      text        not null references tollgate.subscribers (name) on delete cascade,
  event_id        bigint      not null references tollgate.outbox (id),
  event_at        timestamptz not null,
  primary key (organization_id, subscriber, event_id)
);
create index deliveries_event_id_idx on tollgate.deliveries (event_id);
create index deliveries_oldest_idx on tollgate.deliveries (subscriber, event_at);

alter table tollgate.outbox
  add column routed_at timestamptz;
comment on column tollgate.outbox.routed_at is 'When the subscribers that want it got their rows of tollgate.deliveries.';
-- Empty but for what has just been written: the question "is there anything?" is one look at it.
create index outbox_unrouted_idx on tollgate.outbox (id) where routed_at is null;
create index outbox_created_at_idx on tollgate.outbox (created_at);

-- Neither column is in an index: crossing a threshold leaves the hot row on its page.
alter table tollgate.balances
  add column low_threshold bigint,
  add column is_low        boolean not null default false,
  add constraint balances_low_threshold_is_positive check (low_threshold > 0),
  add constraint balances_low_needs_a_threshold check (low_threshold is not null or not is_low);
comment on column tollgate.balances.is_low is 'Available is below low_threshold, and that has been told.';

alter table tollgate.subscribers    enable row level security;
alter table tollgate.subscribers    force  row level security;
alter table tollgate.delivery_lanes enable row level security;
alter table tollgate.delivery_lanes force  row level security;
alter table tollgate.deliveries     enable row level security;
alter table tollgate.deliveries     force  row level security;

create policy ledger_keeps_subscribers on tollgate.subscribers    for all to tollgate_ledger using (true) with check (true);
create policy ledger_keeps_lanes       on tollgate.delivery_lanes for all to tollgate_ledger using (true) with check (true);
create policy ledger_keeps_deliveries  on tollgate.deliveries     for all to tollgate_ledger using (true) with check (true);
create policy auditor_reads_subscribers on tollgate.subscribers    for select to tollgate_auditor using (true);
create policy auditor_reads_lanes       on tollgate.delivery_lanes for select to tollgate_auditor using (true);
create policy auditor_reads_deliveries  on tollgate.deliveries     for select to tollgate_auditor using (true);

grant select, insert, update, delete on tollgate.subscribers, tollgate.delivery_lanes, tollgate.deliveries to tollgate_ledger;
grant update (routed_at), delete on tollgate.outbox to tollgate_ledger;
grant select on tollgate.subscribers, tollgate.delivery_lanes, tollgate.deliveries to tollgate_auditor;
grant update (low_threshold, is_low) on tollgate.balances to tollgate_ledger;
