-- Fails when a secret that begins so does not belong to an organization of this mode: whoever made it did not ask. Reads only.
create or replace function tollgate.check_key_mode(p_organization text, p_prefix text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  if left(p_prefix, 8) is distinct from 'tg_' || tollgate.mode_of(p_organization) || '_' then
    raise exception 'tollgate: a key of organization "%" begins with tg_%_', p_organization, tollgate.mode_of(p_organization)
      using errcode = 'check_violation';
  end if;
end
$$;
