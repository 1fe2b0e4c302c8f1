-- An admin ends a key at once: every statement that begins after this one's answer finds it revoked.
-- Outcomes: not_an_admin · key_unknown · revoked.
-- Locks: the key. A second run finds it revoked, and neither moves the moment nor writes another line of the audit log.
create or replace function tollgate.revoke_key(p_actor text, p_organization text, p_key text, p_reason text, p_request_id text)
  returns text
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
begin
  if not tollgate.may_administer(p_actor, p_organization) then
    return 'not_an_admin';
  end if;
  update tollgate.api_keys k
     set revoked_at = clock_timestamp()
   where k.id = p_key and k.organization_id = p_organization and k.revoked_at is null;
  if found then
    insert into tollgate.audit_log (organization_id, actor, act, subject, reason, request_id)
    values (p_organization, p_actor, 'revokeKey', 'key:' || p_key, p_reason, p_request_id);
    return 'revoked';
  end if;
  return case when exists (select from tollgate.api_keys k where k.id = p_key and k.organization_id = p_organization) then 'revoked' else 'key_unknown' end;
end
$$;
grant execute on function tollgate.revoke_key(text, text, text, text, text) to tollgate_api;
