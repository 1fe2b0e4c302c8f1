-- The ledger, its seals, the usage log and the audit log are only ever appended to: rights say so, and this says so to the tables' owner and to
-- superusers as well.
create or replace function tollgate.refuse_change() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'tollgate: % is append-only; book a correction instead', tg_table_schema || '.' || tg_table_name
    using errcode = 'restrict_violation';
end
$$;

create or replace trigger ledger_blocks_append_only
  before update or delete or truncate on tollgate.ledger_blocks
  for each statement execute function tollgate.refuse_change();
create or replace trigger adjustments_append_only
  before update or delete or truncate on tollgate.adjustments
  for each statement execute function tollgate.refuse_change();
create or replace trigger refunds_append_only
  before update or delete or truncate on tollgate.refunds
  for each statement execute function tollgate.refuse_change();
create or replace trigger ai_token_usage_log_append_only
  before update or delete or truncate on public.ai_token_usage_log
  for each statement execute function tollgate.refuse_change();
create or replace trigger ledger_seals_append_only
  before update or delete or truncate on tollgate.ledger_seals
  for each statement execute function tollgate.refuse_change();
create or replace trigger audit_log_append_only
  before update or delete or truncate on tollgate.audit_log
  for each statement execute function tollgate.refuse_change();
-- A test organization never becomes a live one.
create or replace trigger test_organizations_append_only
  before update or delete or truncate on tollgate.test_organizations
  for each statement execute function tollgate.refuse_change();
