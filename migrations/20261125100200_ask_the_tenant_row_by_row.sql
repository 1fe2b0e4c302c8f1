-- As `= any (list)` the policy of the money functions became a condition of the index, whose list was sorted anew for every row that
-- a statement over many organizations looked up: 67 µs each at 256 organizations. So it is a question to the row found, answered by
-- a hash that each statement makes once. An update asks it of the row that it finds; no function moves a row to another
-- organization, and none may: the column is not theirs to update.
drop policy ledger_moves_balances on tollgate.balances;
create policy ledger_sees_balances on tollgate.balances for select to tollgate_ledger
  using (organization_id in (select unnest(string_to_array(current_setting('tollgate.organizations', true), ','))));
create policy ledger_makes_balances on tollgate.balances for insert to tollgate_ledger
  with check (organization_id in (select unnest(string_to_array(current_setting('tollgate.organizations', true), ','))));
create policy ledger_moves_balances on tollgate.balances for update to tollgate_ledger
  using (organization_id in (select unnest(string_to_array(current_setting('tollgate.organizations', true), ','))))
  with check (true);
revoke update on tollgate.balances from tollgate_ledger;
grant update (available, held, owed, used_in_period, allocated, granted_in_period, period_start, refresh_date, settled_through, next_change_at,
              last_entry, is_in_plan, burn_order, is_limited) on tollgate.balances to tollgate_ledger;
