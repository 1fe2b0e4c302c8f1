-- The job lane: jobs, what each attempt at the AI provider cost, the first answer under each idempotency key, keys of
-- apps, and what somebody outside must hear.

create table tollgate.api_keys (
  id              text        primary key,
  organization_id text        not null references public.organizations (id),
  name            text        not null,
  key_hash        bytea       not null unique,
  scopes          text[]      not null,
  created_at      timestamptz not null default clock_timestamp(),
  expires_at      timestamptz,
  revoked_at      timestamptz,
  constraint api_keys_id_is_an_id check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint api_keys_hash_is_sha256 check (length(key_hash) = 32),
  constraint api_keys_scopes_are_known check (scopes <@ array['jobs:read', 'jobs:write', 'tokens:read', 'tokens:write'] and cardinality(scopes) > 0)
);
create index api_keys_organization_id_idx on tollgate.api_keys (organization_id);

-- A job. Input and result live here and nowhere else; workflows carry the id.
create table tollgate.jobs (
  organization_id     text        not null references public.organizations (id),
  id                  text        not null,
  feature             text        not null,
  token_type          text        not null,
  tokens              bigint      not null,
  state               text        not null default 'admitted',
  principal           text        not null,
  idempotency_key     text        not null,
  input               jsonb       not null,
  result              jsonb,
  usage               jsonb,
  end_code            text,
  hold_id             text        not null,
  debt                bigint      not null default 0,
  time_budget         interval    not null,
  created_at          timestamptz not null,
  began_at            timestamptz,
  cancel_requested_at timestamptz,
  delivered_at        timestamptz,
  ended_at            timestamptz,
  primary key (organization_id, id),
  foreign key (organization_id, hold_id) references tollgate.holds (organization_id, id),
  constraint jobs_id_is_an_id check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  constraint jobs_state_is_known check (state in ('admitted', 'running', 'delivered', 'charged', 'refunded', 'withdrawn', 'refused')),
  constraint jobs_quote_is_positive check (tokens > 0),
  constraint jobs_time_budget_is_positive check (time_budget > interval '0'),
  constraint jobs_debt_within_quote check (debt between 0 and tokens),
  constraint jobs_delivered_means_a_stored_result check ((state in ('delivered', 'charged')) = (result is not null)),
  constraint jobs_end_is_dated check ((state in ('charged', 'refunded', 'withdrawn', 'refused')) = (ended_at is not null)),
  constraint jobs_end_without_charge_says_why check ((state in ('refunded', 'withdrawn', 'refused')) = (end_code is not null))
) with (fillfactor = 70);
create index jobs_newest_idx on tollgate.jobs (organization_id, created_at desc, id desc);
-- For the sweep. Small: a job leaves it when it ends.
create index jobs_unended_idx on tollgate.jobs (created_at) where ended_at is null;

-- One row for each call to the AI provider, also for those whose answer was lost: the charge is once, the provider's own
-- bill may not be.
create table tollgate.job_attempts (
  organization_id     text        not null,
  job_id              text        not null,
  attempt             integer     not null,
  outcome             text        not null,
  model               text,
  provider_request_id text,
  http_status         integer,
  usage               jsonb,
  started_at          timestamptz not null,
  ended_at            timestamptz,
  primary key (organization_id, job_id, attempt),
  foreign key (organization_id, job_id) references tollgate.jobs (organization_id, id)
);

create table tollgate.idempotency_records (
  organization_id text        not null references public.organizations (id),
  key             text        not null,
  request_hash    bytea       not null,
  -- Null for a deduction, which is over when it is answered.
  job_id          text,
  answer          jsonb       not null default '{}',
  created_at      timestamptz not null default clock_timestamp(),
  primary key (organization_id, key),
  constraint idempotency_records_key_is_bounded check (length(key) between 1 and 255)
);

-- Written in the transaction of what it tells. Ids only, nothing personal.
create table tollgate.outbox (
  organization_id text        not null,
  id              bigint      generated always as identity primary key,
  kind            text        not null,
  subject_id      text,
  content         jsonb       not null default '{}',
  created_at      timestamptz not null default clock_timestamp()
);

alter table tollgate.api_keys            enable row level security;
alter table tollgate.api_keys            force  row level security;
alter table tollgate.jobs                enable row level security;
alter table tollgate.jobs                force  row level security;
alter table tollgate.job_attempts        enable row level security;
alter table tollgate.job_attempts        force  row level security;
alter table tollgate.idempotency_records enable row level security;
alter table tollgate.idempotency_records force  row level security;
alter table tollgate.outbox              enable row level security;
alter table tollgate.outbox              force  row level security;

create policy ledger_writes_keys     on tollgate.api_keys            for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_jobs     on tollgate.jobs                for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_attempts on tollgate.job_attempts        for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_records  on tollgate.idempotency_records for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_outbox   on tollgate.outbox              for all to tollgate_ledger using (true) with check (true);
create policy tenant_reads_jobs     on tollgate.jobs         for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy tenant_reads_attempts on tollgate.job_attempts for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_jobs     on tollgate.jobs                for select to tollgate_auditor using (true);
create policy auditor_reads_attempts on tollgate.job_attempts        for select to tollgate_auditor using (true);
create policy auditor_reads_records  on tollgate.idempotency_records for select to tollgate_auditor using (true);
create policy auditor_reads_outbox   on tollgate.outbox              for select to tollgate_auditor using (true);

grant select, insert, update on tollgate.api_keys, tollgate.jobs, tollgate.job_attempts to tollgate_ledger;
grant select, insert, update, delete on tollgate.idempotency_records to tollgate_ledger;
grant select, insert on tollgate.outbox to tollgate_ledger;
grant select on tollgate.jobs, tollgate.job_attempts to tollgate_api, tollgate_worker;
grant select on tollgate.jobs, tollgate.job_attempts, tollgate.idempotency_records, tollgate.outbox to tollgate_auditor;
