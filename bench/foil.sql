-- The usual way's own tables, beside Tollgate's in the same database and with the same rows: organizations, balances and
-- grants are copied. Keys and indexes are those that its statements and a lapse sweep need, and no foreign keys: each would
-- cost it a look-up per row. Free space for updates in place as in Tollgate's.
create schema foil;

create table foil.balances (
  organization_id text   not null,
  token_type      text   not null,
  available       bigint not null check (available >= 0),
  held            bigint not null default 0 check (held >= 0),
  last_entry      bigint not null default 0,
  primary key (organization_id, token_type)
) with (fillfactor = 50);

create table foil.grants (
  id              bigint  generated always as identity primary key,
  organization_id text    not null,
  token_type      text    not null,
  priority        integer not null,
  is_paid         boolean not null,
  expires_at      timestamptz,
  amount          bigint  not null,
  remaining       bigint  not null check (remaining between 0 and amount)
) with (fillfactor = 70);
create index grants_of_balance on foil.grants (organization_id, token_type);

create table foil.holds (
  organization_id text        not null,
  id              text        not null,
  token_type      text        not null,
  feature         text        not null,
  amount          bigint      not null check (amount > 0),
  captured        bigint      not null default 0,
  state           text        not null default 'held',
  principal       text        not null,
  created_at      timestamptz not null default now(),
  expires_at      timestamptz not null,
  ended_at        timestamptz,
  primary key (organization_id, id)
) with (fillfactor = 50);
create index holds_to_lapse on foil.holds (token_type, organization_id, expires_at);

create table foil.allocations (
  organization_id text     not null,
  hold_id         text     not null,
  position        smallint not null,
  grant_id        bigint   not null,
  amount          bigint   not null,
  primary key (organization_id, hold_id, position)
);

create table foil.entries (
  organization_id text        not null,
  token_type      text        not null,
  entry_number    bigint      not null,
  kind            text        not null,
  from_account    text        not null,
  to_account      text        not null,
  amount          bigint      not null,
  available_after bigint      not null,
  held_after      bigint      not null,
  hold_id         text,
  actor           text        not null,
  created_at      timestamptz not null default now(),
  primary key (organization_id, token_type, entry_number)
);

create table foil.usage_log (
  id              bigint      generated always as identity primary key,
  organization_id text        not null,
  user_id         text,
  feature_used    text        not null,
  tokens_deducted bigint      not null,
  metadata        jsonb       not null default '{}',
  created_at      timestamptz not null default now()
);
create index usage_log_of_organization on foil.usage_log (organization_id, created_at);

-- For the lone caller: one durable insert into a table with two indexes.
create table foil.bare (
  id              text        primary key,
  organization_id text        not null,
  feature         text        not null,
  amount          bigint      not null,
  created_at      timestamptz not null default now()
);
create index bare_of_organization on foil.bare (organization_id, created_at);

insert into foil.grants (organization_id, token_type, priority, is_paid, expires_at, amount, remaining)
select g.organization_id, g.token_type, g.priority, g.is_paid, g.expires_at, g.amount, g.remaining
  from tollgate.grants g
 where g.remaining > 0
 order by g.organization_id, g.id;
insert into foil.balances (organization_id, token_type, available)
select g.organization_id, g.token_type, sum(g.remaining) from foil.grants g group by g.organization_id, g.token_type;

grant usage on schema foil to tollgate_owner, tollgate_api;
grant select, insert, update on all tables in schema foil to tollgate_owner;
grant select on foil.balances to tollgate_api;
