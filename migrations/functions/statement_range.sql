-- Which entries of a balance make up a calendar month in the organization's own zone, and what it was worth before and after
-- them: available + held - owed, so that tokens on hold count until they are used and a debt counts against them. Sums
-- over the entries are left to the caller, who reads them in pages (db/statements.ts).
-- The caller has settled what is due (tollgate.settle_due): only then does the range of a month that is over never change.
-- The policy on balances is the gate, as in tollgate.balance_as_of; without the row no row. Reads only; locks nothing.
create or replace function tollgate.statement_range(p_organization text, p_token_type text, p_month date)
  returns table (time_zone text, starts_at timestamptz, ends_at timestamptz, is_over boolean, is_ahead boolean,
                 first_entry bigint, last_entry bigint, opening bigint, closing bigint)
  language plpgsql stable security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_last bigint;
begin
  select b.last_entry, coalesce(c.time_zone, 'UTC') into v_last, time_zone
    from tollgate.balances b
    left join tollgate.billing_cycles c on c.organization_id = b.organization_id
   where b.organization_id = p_organization and b.token_type = p_token_type;
  if not found then
    return;
  end if;

  starts_at := p_month::timestamp at time zone time_zone;
  ends_at := (p_month + interval '1 month') at time zone time_zone;
  is_over := ends_at <= clock_timestamp();
  is_ahead := starts_at > clock_timestamp();
  last_entry := tollgate.entries_before(p_organization, p_token_type, v_last, ends_at);
  first_entry := tollgate.entries_before(p_organization, p_token_type, last_entry, starts_at) + 1;
  opening := coalesce((select e.available_after + e.held_after - e.owed_after
                         from tollgate.entries_between(p_organization, p_token_type, first_entry - 1, first_entry - 1) e), 0);
  closing := coalesce((select e.available_after + e.held_after - e.owed_after
                         from tollgate.entries_between(p_organization, p_token_type, last_entry, last_entry) e), 0);
  return next;
end
$$;
grant execute on function tollgate.statement_range(text, text, date) to tollgate_api, tollgate_auditor;
