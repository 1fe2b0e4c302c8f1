-- The balances as SQL users know them, exact by time: before next_change_at the row is right as it stands, after it the
-- view computes what time has done since. Runs with its reader's rights (a plain view would bypass row-level security).
create or replace view public.ai_tokens with (security_invoker = true) as
  select b.organization_id,
         b.token_type,
         coalesce(t.available, b.available)       as balance,
         coalesce(t.allocated, b.allocated)       as total_allocated,
         coalesce(t.refresh_date, b.refresh_date) as refresh_date
    from tollgate.balances b
    left join lateral (
      select s.available, s.allocated, s.refresh_date
        from tollgate.balance_at(b, clock_timestamp()) s
       where b.next_change_at <= clock_timestamp()
    ) t on true;

-- From each by name: Supabase's default privileges give new objects of this schema to them, and the triggers below run with
-- the ledger's rights.
revoke all on public.ai_tokens from public, anon, authenticated, service_role;
grant select on public.ai_tokens to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor, authenticated;
-- A deletion is refused by its trigger, which says what to do instead.
grant select, insert, update, delete on public.ai_tokens to service_role;

create or replace trigger ai_tokens_insert instead of insert on public.ai_tokens
  for each row execute function tollgate.edit_balance();
create or replace trigger ai_tokens_update instead of update on public.ai_tokens
  for each row execute function tollgate.edit_balance();
create or replace trigger ai_tokens_delete instead of delete on public.ai_tokens
  for each row execute function tollgate.refuse_balance_delete();
