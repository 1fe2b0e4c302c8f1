-- Who comes in at the front door: keys that may do what admins do, operators with credentials of their own, and the audit log of
-- what either changes.

alter table tollgate.api_keys
  drop constraint api_keys_scopes_are_known,
  add constraint api_keys_scopes_are_known check (
    cardinality(scopes) > 0
    and scopes <@ array['jobs:read', 'jobs:write', 'tokens:read', 'tokens:write', 'organization:read', 'organization:write']);

-- An operator's credential belongs to no organization. Only its hash is kept.
create table tollgate.operators (
  id              text        primary key,
  name            text        not null,
  credential_hash bytea       not null unique,
  created_at      timestamptz not null default clock_timestamp(),
  expires_at      timestamptz,
  revoked_at      timestamptz,
  constraint operators_id_is_an_id check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint operators_have_a_name check (name ~ '\S' and length(name) <= 100),
  constraint operators_hash_is_sha256 check (length(credential_hash) = 32)
);

-- Who did what to whom, and why. Written in the transaction of the act itself, so neither is there without the other.
-- act: the operation's id. subject: the member, key, … that it was done to. Ids only, nothing personal but what a reason says.
create table tollgate.audit_log (
  id              bigint      generated always as identity primary key,
  organization_id text,
  actor           text        not null,
  act             text        not null,
  subject         text,
  reason          text,
  changes         jsonb       not null default '{}',
  request_id      text,
  created_at      timestamptz not null default clock_timestamp(),
  constraint audit_log_names_who check (actor ~ '^(operator|user|key|sql):.'),
  constraint audit_log_names_what check (act ~ '^[a-z][A-Za-z]{0,63}$'),
  constraint audit_log_operators_say_why check (left(actor, 9) <> 'operator:' or (reason ~ '\S' and length(reason) <= 500))
);
create index audit_log_organization_idx on tollgate.audit_log (organization_id, id);

alter table tollgate.operators enable row level security;
alter table tollgate.operators force  row level security;
alter table tollgate.audit_log enable row level security;
alter table tollgate.audit_log force  row level security;

create policy ledger_keeps_operators on tollgate.operators for all    to tollgate_ledger  using (true) with check (true);
create policy ledger_writes_audit    on tollgate.audit_log for all    to tollgate_ledger  using (true) with check (true);
create policy auditor_reads_audit    on tollgate.audit_log for select to tollgate_auditor using (true);
create policy tenant_reads_audit     on tollgate.audit_log for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));

grant select, insert, update on tollgate.operators to tollgate_ledger;
grant select, insert         on tollgate.audit_log to tollgate_ledger;
grant select                 on tollgate.audit_log to tollgate_auditor, tollgate_api, tollgate_worker;
