-- Sets the number of tokens below which a balance counts as low; null: never. The owner's own tool.
-- A threshold above the present balance is crossed at once. Another threshold than before is a new question and is told
-- again; the same one is not.
-- Locks: the balance. A second run with the same threshold changes nothing.
create or replace function tollgate.set_low_balance(p_organization text, p_token_type text, p_threshold bigint)
  returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
begin
  if p_threshold not between 1 and 9007199254740991 then
    raise exception 'tollgate: a threshold lies between 1 and 9007199254740991 tokens, or is null for none; it is %', p_threshold
      using errcode = 'check_violation';
  end if;
  perform tollgate.check_balance(p_organization, p_token_type);

  perform tollgate.lock_balances(array[p_organization], array[p_token_type]);
  update tollgate.balances b
     set low_threshold = p_threshold, is_low = false
   where b.organization_id = p_organization and b.token_type = p_token_type
     and b.low_threshold is distinct from p_threshold;
  perform tollgate.notice_low(array[p_organization], array[p_token_type]);
end
$$;
