-- A last capture may find nothing left to charge: all was charged in parts, or the rule 'cap' left nothing. It ends its hold
-- without a charge, and is written down as a step without a charge's number, so that its repeat is known as one.
alter table tollgate.hold_steps
  drop constraint hold_steps_amount_is_positive,
  drop constraint hold_steps_capture_is_a_charge,
  add constraint hold_steps_amount_is_positive
    check (amount > 0 or (amount = 0 and verb = 'capture' and is_last)),
  add constraint hold_steps_capture_is_a_charge
    check ((verb = 'capture' and amount > 0) = (charge_number is not null));
