-- Writes a catalogue as a new version, unless the newest one is the same. Allowances of a running period stay as granted;
-- new ones come with the next refresh or plan change.
-- Locks: the versions table against another writer. A second run with the same digest does nothing.
create or replace function tollgate.apply_catalogue(p_digest text, p_content jsonb)
  returns integer
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_version integer;
begin
  perform pg_advisory_xact_lock(hashtext('tollgate.apply_catalogue'));
  select v.version into v_version
    from tollgate.catalogue_versions v
   where v.digest = p_digest and v.version = (select max(n.version) from tollgate.catalogue_versions n);
  if found then
    return v_version;
  end if;

  insert into tollgate.catalogue_versions (digest) values (p_digest) returning version into v_version;
  insert into tollgate.catalogue_features (version, feature, token_type, tokens)
  select v_version, f.feature, f."tokenType", f.tokens
    from jsonb_to_recordset(p_content -> 'features') as f (feature text, "tokenType" text, tokens bigint);
  insert into tollgate.catalogue_allowances (version, plan, token_type, tokens)
  select v_version, a.plan, a."tokenType", a.tokens
    from jsonb_to_recordset(p_content -> 'allowances') as a (plan text, "tokenType" text, tokens bigint);
  return v_version;
end
$$;
