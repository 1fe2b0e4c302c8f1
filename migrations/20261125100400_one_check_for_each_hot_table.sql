-- PostgreSQL reads the checks of a table anew in every statement that writes to it, about 3 µs for each comparison. A lone hold writes
-- to four tables that had 26 checks: 0.2 ms of its 0.55. What stays is one check each, of what money could be lost or made by; the rest
-- is decided by the functions, which alone may write here, and proven by `npm run verify` (docs/decisions/0011).

alter table tollgate.balances
  drop constraint balances_available_is_not_negative,
  drop constraint balances_held_is_not_negative,
  drop constraint balances_owed_is_not_negative,
  drop constraint balances_allocated_is_not_negative,
  drop constraint balances_period_has_an_end,
  drop constraint balances_burn_order_is_known,
  add constraint balances_are_never_negative check (available >= 0 and held >= 0 and owed >= 0);

alter table tollgate.grants
  drop constraint grants_source_is_known,
  drop constraint grants_amount_is_positive,
  drop constraint grants_remaining_within_amount,
  drop constraint grants_of_a_plan_name_their_period,
  drop constraint grants_price_is_of_paid_ones,
  drop constraint grants_price_names_its_currency,
  add constraint grants_never_exceed_their_amount check (remaining >= 0 and expired >= 0 and remaining + expired <= amount);

alter table tollgate.holds
  drop constraint holds_id_is_an_id,
  drop constraint holds_amount_is_positive,
  drop constraint holds_state_is_known,
  drop constraint holds_captured_within_amount,
  drop constraint holds_captured_has_a_charge,
  drop constraint holds_end_is_dated,
  drop constraint holds_say_what_they_took,
  add constraint holds_charge_no_more_than_they_took check (amount > 0 and captured between 0 and amount and (state = 'held') = (ended_at is null));

alter table tollgate.ledger_blocks
  drop constraint ledger_blocks_numbered_in_order,
  drop constraint ledger_blocks_kinds_are_known,
  drop constraint ledger_blocks_amounts_are_positive,
  drop constraint ledger_blocks_arrays_fit,
  drop constraint ledger_blocks_before_is_not_negative,
  add constraint ledger_blocks_move_something check (length(kinds) = last_entry - first_entry + 1 and 0 < all (amounts));
comment on column tollgate.ledger_blocks.kinds is 'A letter for each entry: g grant, h hold, c capture, r release, l lapse, e expire, f refund, u adjusted up, d adjusted down, o debt taken up, p debt paid.';
