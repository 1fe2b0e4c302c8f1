-- An admin gives a key a successor: the same name, scopes, sub-limits and end, another secret. The old one works on until the
-- overlap is over, or its own end; never longer than it would have, however often it is rotated. A key rotates only what has no
-- scope that it lacks, or it could take scopes by rotating their owner; and the successor ends when it does, at the latest.
-- Outcomes: not_an_admin · key_unknown · key_ended · scope_missing, with the first that lacks · rotated.
-- Locks: both keys in the order of their ids, then the balances that have a limit of the old one.
-- A second run under the same new id finds the successor and changes nothing; under another it makes another successor.
create or replace function tollgate.rotate_key(
  p_actor           text,
  p_organization    text,
  p_key             text,
  p_new_id          text,
  p_key_hash        bytea,
  p_prefix          text,
  p_overlap_seconds integer,
  p_reason          text,
  p_request_id      text,
  out outcome       text,
  out scope         text
)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
declare
  v_own      tollgate.api_keys;
  v_old      tollgate.api_keys;
  v_now      timestamptz;
  v_lifetime timestamptz;
  v_ends_at  timestamptz;
  v_types    text[];
  v_limit    record;
begin
  perform from tollgate.api_keys k
    where k.organization_id = p_organization and k.id in (p_key, case when left(p_actor, 4) = 'key:' then substr(p_actor, 5) end)
    order by k.id
      for no key update;
  select k.* into v_own from tollgate.api_keys k where left(p_actor, 4) = 'key:' and k.id = substr(p_actor, 5);
  select k.* into v_old from tollgate.api_keys k where k.organization_id = p_organization and k.id = p_key;
  v_now := clock_timestamp();
  scope := (select s.scope from unnest(v_old.scopes) with ordinality as s (scope, position)
             where v_own.id is not null and s.scope <> all (v_own.scopes) order by s.position limit 1);
  outcome := case
    when not tollgate.may_administer(p_actor, p_organization) then 'not_an_admin'
    when v_old.id is null then 'key_unknown'
    when exists (select from tollgate.api_keys k where k.id = p_new_id and k.key_hash = p_key_hash) then 'rotated'
    when v_old.revoked_at is not null or v_old.expires_at <= v_now then 'key_ended'
    when scope is not null then 'scope_missing'
  end;
  if outcome is not null then
    return;
  end if;

  perform tollgate.check_key_mode(p_organization, p_prefix);
  v_lifetime := case when v_old.replaced_by is null then v_old.expires_at else v_old.lifetime_ends_at end;
  insert into tollgate.api_keys (id, organization_id, name, key_hash, prefix, scopes, expires_at)
  values (p_new_id, p_organization, v_old.name, p_key_hash, p_prefix, v_old.scopes, least(v_lifetime, v_own.expires_at));
  update tollgate.api_keys k
     set replaced_by = p_new_id, lifetime_ends_at = v_lifetime, expires_at = least(k.expires_at, v_now + make_interval(secs => p_overlap_seconds))
   where k.id = p_key
  returning k.expires_at into v_ends_at;

  v_types := array(select distinct l.token_type from tollgate.sub_limits l
                    where l.organization_id = p_organization and l.scope = 'key' and l.subject = 'key:' || p_key);
  if cardinality(v_types) > 0 then
    perform tollgate.lock_balances(array_fill(p_organization, array[cardinality(v_types)]), v_types);
    for v_limit in
      select l.token_type, l.every, l.tokens from tollgate.sub_limits l
       where l.organization_id = p_organization and l.scope = 'key' and l.subject = 'key:' || p_key and l.token_type = any (v_types)
       order by l.token_type, l.every
    loop
      perform tollgate.set_sub_limit(p_organization, v_limit.token_type, 'key', 'key:' || p_new_id, v_limit.every, v_limit.tokens);
    end loop;
  end if;

  insert into tollgate.audit_log (organization_id, actor, act, subject, reason, changes, request_id)
  values (p_organization, p_actor, 'rotateKey', 'key:' || p_key, p_reason,
          jsonb_build_object('replacedBy', p_new_id, 'prefix', p_prefix, 'expiresAt', v_ends_at), p_request_id);
  outcome := 'rotated';
end
$$;
grant execute on function tollgate.rotate_key(text, text, text, text, bytea, text, integer, text, text) to tollgate_api;
