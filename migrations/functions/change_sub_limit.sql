-- An admin sets a sub-limit, or lifts it with null tokens: tollgate.set_sub_limit, with the right looked up and a line in the
-- audit log.
-- Outcomes: not_an_admin · organization_unknown · limit_unknown (nothing to lift) · too_many_limits (every hold of the token type
-- looks at all of them) · set · lifted.
-- Locks: the balance. A second run sets the same and writes no line.
create or replace function tollgate.change_sub_limit(
  p_actor        text,
  p_organization text,
  p_token_type   text,
  p_scope        text,
  p_subject      text,
  p_every        text,
  p_tokens       bigint,
  p_reason       text,
  p_request_id   text
) returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  c_most   constant integer := 1000;
  v_before bigint;
begin
  if not tollgate.may_administer(p_actor, p_organization) then
    return 'not_an_admin';
  elsif not exists (select from public.organizations o where o.id = p_organization) then
    return 'organization_unknown';
  end if;
  perform tollgate.lock_balances(array[p_organization], array[p_token_type]);
  select l.tokens into v_before
    from tollgate.sub_limits l
   where l.organization_id = p_organization and l.token_type = p_token_type and l.scope = p_scope and l.subject = p_subject and l.every = p_every;
  if v_before is null and p_tokens is null then
    return 'limit_unknown';
  elsif v_before is null and c_most <= (select count(*) from tollgate.sub_limits l where l.organization_id = p_organization and l.token_type = p_token_type) then
    return 'too_many_limits';
  elsif v_before is distinct from p_tokens then
    perform tollgate.set_sub_limit(p_organization, p_token_type, p_scope, p_subject, p_every, p_tokens);
    insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
    values (p_organization, p_actor, case when p_tokens is null then 'liftLimit' else 'setLimit' end, p_subject, p_reason,
            jsonb_build_object('tokenType', p_token_type, 'scope', p_scope, 'every', p_every, 'from', v_before, 'to', p_tokens), p_request_id);
  end if;
  return case when p_tokens is null then 'lifted' else 'set' end;
end
$$;
grant execute on function tollgate.change_sub_limit(text, text, text, text, text, text, bigint, text, text) to tollgate_api;
