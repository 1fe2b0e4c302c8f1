-- An admin makes a key; its secret is never seen here. A key hands on only what it has itself: scopes, and at most its own expiry.
-- Outcomes: not_an_admin · organization_unknown · scope_missing, with the first that lacks · expiry_past · expiry_beyond_own ·
-- created, with when it expires: without p_expires_at when the key that asks does.
-- Locks: the key that asks, shared: its revocation is over before, or waits until this is.
-- A second run under the same id finds the key and answers it.
create or replace function tollgate.create_key(
  p_actor        text,
  p_organization text,
  p_id           text,
  p_name         text,
  p_key_hash     bytea,
  p_prefix       text,
  p_scopes       text[],
  p_expires_at   timestamptz,
  p_reason       text,
  p_request_id   text,
  out outcome    text,
  out scope      text
)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_own tollgate.api_keys;
begin
  if left(p_actor, 4) = 'key:' then
    select k.* into v_own from tollgate.api_keys k where k.id = substr(p_actor, 5) for share;
  end if;
  scope := (select s.scope from unnest(p_scopes) with ordinality as s (scope, position)
             where v_own.id is not null and s.scope <> all (v_own.scopes) order by s.position limit 1);
  outcome := case
    when not tollgate.may_administer(p_actor, p_organization) then 'not_an_admin'
    when not exists (select from public.organizations o where o.id = p_organization) then 'organization_unknown'
    when exists (select from tollgate.api_keys k where k.id = p_id and k.organization_id = p_organization and k.key_hash = p_key_hash) then 'created'
    when scope is not null then 'scope_missing'
    when p_expires_at <= clock_timestamp() then 'expiry_past'
    when p_expires_at > v_own.expires_at then 'expiry_beyond_own'
  end;
  if outcome is not null then
    return;
  end if;

  perform tollgate.check_key_mode(p_organization, p_prefix);
  insert into tollgate.api_keys (id, organization_id, name, key_hash, prefix, scopes, expires_at)
  values (p_id, p_organization, p_name, p_key_hash, p_prefix, p_scopes, coalesce(p_expires_at, v_own.expires_at));
  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'createKey', 'key:' || p_id, p_reason,
          jsonb_build_object('name', p_name, 'prefix', p_prefix, 'scopes', p_scopes, 'expiresAt', coalesce(p_expires_at, v_own.expires_at)), p_request_id);
  outcome := 'created';
end
$$;
grant execute on function tollgate.create_key(text, text, text, text, bytea, text, text[], timestamptz, text, text) to tollgate_api;
