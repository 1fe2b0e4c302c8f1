-- Refuses an organization that is not there, or a token type that the catalogue does not have, and says what to do. For tools that
-- people call by hand. Reads only.
create or replace function tollgate.check_balance(p_organization text, p_token_type text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from public.organizations o where o.id = p_organization) then
    raise exception 'tollgate: unknown organization "%"; insert it into organizations first', p_organization
      using errcode = 'foreign_key_violation';
  end if;
  if not exists (select from tollgate.current_allowances a where a.token_type = p_token_type) then
    raise exception 'tollgate: unknown token type "%"; the catalogue has: %', p_token_type,
      (select string_agg(distinct a.token_type, ', ') from tollgate.current_allowances a)
      using errcode = 'check_violation';
  end if;
end
$$;
