-- Who used what, as SQL users know it: one row for each charge, a negative row for a refund. Append-only.

create table public.ai_token_usage_log (
  id              bigint      generated always as identity primary key,
  organization_id text        not null references public.organizations (id),
  user_id         text,
  feature_used    text        not null,
  tokens_deducted bigint      not null,
  metadata        jsonb       not null default '{}',
  created_at      timestamptz not null default clock_timestamp()
);
create index ai_token_usage_log_organization_id_created_at_idx on public.ai_token_usage_log (organization_id, created_at);

alter table public.ai_token_usage_log enable row level security;
alter table public.ai_token_usage_log force  row level security;

create policy "System can insert usage" on public.ai_token_usage_log for insert to tollgate_ledger with check (true);
create policy ledger_reads_usage on public.ai_token_usage_log for select to tollgate_ledger using (true);
create policy tenant_reads_usage on public.ai_token_usage_log for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads_usage on public.ai_token_usage_log for select to tollgate_auditor using (true);
create policy service_reads_usage on public.ai_token_usage_log for select to service_role using (true);
create policy member_reads_usage on public.ai_token_usage_log for select to authenticated
  using (organization_id in (select p.organization_id from public.user_profiles p where p.id::text = (select auth.uid()::text)));

-- From each by name, and the sequence with it: under Supabase's default privileges a trigger of service_role would run here
-- with the ledger's rights, and anon could set the sequence back, after which every deduction would fail on its id.
revoke all on public.ai_token_usage_log from public, anon, authenticated, service_role;
revoke all on sequence public.ai_token_usage_log_id_seq from public, anon, authenticated, service_role;
grant select, insert on public.ai_token_usage_log to tollgate_ledger;
grant select on public.ai_token_usage_log to tollgate_api, tollgate_worker, tollgate_auditor, service_role, authenticated;
