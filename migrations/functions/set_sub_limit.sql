-- Limits what a user, a key or a feature may use of a token type in a day or a period; null tokens lift the limit. The subject
-- is a principal ('user:ID', 'key:ID') or a feature; '*' gives each user, or each key, that much. It counts from now on.
-- For operators; the owner may call it.
-- Locks: the balance. A second run sets the same.
create or replace function tollgate.set_sub_limit(
  p_organization text, p_token_type text, p_scope text, p_subject text, p_every text, p_tokens bigint
) returns void
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
begin
  perform tollgate.check_balance(p_organization, p_token_type);
  perform tollgate.lock_balances(array[p_organization], array[p_token_type]);
  if p_tokens is null then
    delete from tollgate.sub_limits l
     where l.organization_id = p_organization and l.token_type = p_token_type and l.scope = p_scope and l.subject = p_subject and l.every = p_every;
  else
    insert into tollgate.sub_limits as l (organization_id, token_type, scope, subject, every, tokens)
    values (p_organization, p_token_type, p_scope, p_subject, p_every, p_tokens)
    on conflict (organization_id, token_type, scope, subject, every) do update set tokens = excluded.tokens;
  end if;
  update tollgate.balances b
     set is_limited = exists (select from tollgate.sub_limits l where l.organization_id = p_organization and l.token_type = p_token_type)
   where b.organization_id = p_organization and b.token_type = p_token_type;
end
$$;
