-- PostgreSQL reads the checks of a table anew in every statement that writes to it, about 3 µs for each comparison. A lone hold writes
-- to four tables that had 26 checks when it was measured: 0.2 ms of its 0.55. What stays is one check each, of what money could be lost or made by; the rest
-- is decided by the functions, which alone may write here, and proven by `npm run verify` (docs/decisions/0011).

alter table tollgate.balances
  drop constraint balances_available_is_not_negative,
  drop constraint balances_held_is_not_negative,
  drop constraint balances_owed_is_not_negative,
  drop constraint balances_allocated_is_not_negative,
  drop constraint balances_period_has_an_end,
  add constraint balances_are_never_negative check (available >= 0 and held >= 0 and owed >= 0);

alter table tollgate.grants
  drop constraint grants_source_is_known,
  drop constraint grants_amount_is_positive,
  drop constraint grants_remaining_within_amount,
  drop constraint grants_of_a_plan_name_their_period,
  add constraint grants_never_exceed_their_amount check (remaining >= 0 and expired >= 0 and remaining + expired <= amount);

alter table tollgate.holds
  drop constraint holds_id_is_an_id,
  drop constraint holds_amount_is_positive,
  drop constraint holds_state_is_known,
  drop constraint holds_captured_within_amount,
  drop constraint holds_captured_names_the_charge,
  drop constraint holds_end_is_dated,
  drop constraint holds_say_what_they_took,
  add constraint holds_charge_no_more_than_they_took check (amount > 0 and captured between 0 and amount and (state = 'held') = (ended_at is null));
