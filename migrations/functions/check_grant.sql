-- What a grant says of itself, looked at once, when it is booked: its source, the period of a plan's, the price of a paid one.
-- A trigger and not checks of the table, which would be looked at with every hold.
create or replace function tollgate.check_grant() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  if new.source not in ('allowance', 'upgrade', 'purchase', 'promotion', 'reward', 'adjustment') then
    raise exception 'tollgate: a grant has no source "%"', new.source using errcode = 'check_violation';
  elsif new.amount <= 0 then
    raise exception 'tollgate: a grant of % tokens is none', new.amount using errcode = 'check_violation';
  elsif (new.source in ('allowance', 'upgrade')) <> (new.period_start is not null) then
    raise exception 'tollgate: grants of a plan, and they alone, name their period' using errcode = 'check_violation';
  elsif (new.unit_price_micros is null) <> (new.currency is null) or new.unit_price_micros < 0 or new.currency !~ '^[A-Z]{3}$'
        or (new.unit_price_micros is not null and not new.is_paid) then
    raise exception 'tollgate: a price is that of a paid grant, not negative, and has a currency of three capital letters'
      using errcode = 'check_violation';
  end if;
  return new;
end
$$;

create or replace trigger grants_are_well_formed
  before insert on tollgate.grants
  for each row execute function tollgate.check_grant();
