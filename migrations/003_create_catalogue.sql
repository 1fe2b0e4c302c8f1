-- The catalogue's source is domain/catalog.ts; tollgate.apply_catalogue writes it here as a new version. Rows of earlier
-- versions stay, so that what a feature cost at any time can be told.

create table tollgate.catalogue_versions (
  version    integer     generated always as identity primary key,
  digest     text        not null,
  applied_at timestamptz not null default clock_timestamp()
);

create table tollgate.catalogue_features (
  version    integer not null references tollgate.catalogue_versions (version),
  feature    text    not null,
  token_type text    not null,
  tokens     bigint  not null constraint catalogue_features_cost_is_positive check (tokens > 0),
  primary key (version, feature)
);

create table tollgate.catalogue_allowances (
  version    integer not null references tollgate.catalogue_versions (version),
  plan       text    not null,
  token_type text    not null,
  tokens     bigint  not null constraint catalogue_allowances_are_not_negative check (tokens >= 0),
  primary key (version, plan, token_type)
);

create view tollgate.current_features with (security_invoker = true) as
  select f.feature, f.token_type, f.tokens
    from tollgate.catalogue_features f
   where f.version = (select max(v.version) from tollgate.catalogue_versions v);

create view tollgate.current_allowances with (security_invoker = true) as
  select a.plan, a.token_type, a.tokens
    from tollgate.catalogue_allowances a
   where a.version = (select max(v.version) from tollgate.catalogue_versions v);

alter table tollgate.catalogue_versions   enable row level security;
alter table tollgate.catalogue_versions   force  row level security;
alter table tollgate.catalogue_features   enable row level security;
alter table tollgate.catalogue_features   force  row level security;
alter table tollgate.catalogue_allowances enable row level security;
alter table tollgate.catalogue_allowances force  row level security;

create policy ledger_writes_versions   on tollgate.catalogue_versions   for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_features   on tollgate.catalogue_features   for all to tollgate_ledger using (true) with check (true);
create policy ledger_writes_allowances on tollgate.catalogue_allowances for all to tollgate_ledger using (true) with check (true);
create policy everybody_reads_versions   on tollgate.catalogue_versions   for select to tollgate_api, tollgate_worker, tollgate_auditor using (true);
create policy everybody_reads_features   on tollgate.catalogue_features   for select to tollgate_api, tollgate_worker, tollgate_auditor using (true);
create policy everybody_reads_allowances on tollgate.catalogue_allowances for select to tollgate_api, tollgate_worker, tollgate_auditor using (true);

grant select, insert on tollgate.catalogue_versions, tollgate.catalogue_features, tollgate.catalogue_allowances to tollgate_ledger;
grant select on tollgate.catalogue_versions, tollgate.catalogue_features, tollgate.catalogue_allowances to tollgate_api, tollgate_worker, tollgate_auditor;
grant select on tollgate.current_features, tollgate.current_allowances to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor;
