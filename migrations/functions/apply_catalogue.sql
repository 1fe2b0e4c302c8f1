-- Writes a catalogue as a new version, unless the newest one is the same. Allowances of a running period stay as granted;
-- new ones come with the next refresh or plan change. What a plan includes, and how it burns, holds at once.
-- Locks: the versions table against another writer, then the balances that a changed plan concerns, in key order, page by page.
-- A second run with the same digest does nothing.
create or replace function tollgate.apply_catalogue(p_digest text, p_content jsonb)
  returns integer
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_version integer;
  v_page    text[];
  v_after   text := '';
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
  insert into tollgate.catalogue_plans (version, plan, burn_order)
  select v_version, p.plan, p."burnOrder"
    from jsonb_to_recordset(p_content -> 'plans') as p (plan text, "burnOrder" text);
  insert into tollgate.catalogue_fallbacks (version, plan, feature, rank, token_type)
  select v_version, f.plan, f.feature, f.rank, f."tokenType"
    from jsonb_to_recordset(p_content -> 'fallbacks') as f (plan text, feature text, rank integer, "tokenType" text);

  delete from tollgate.current_features f where not exists (
    select from tollgate.catalogue_features n where n.version = v_version and n.feature = f.feature);
  insert into tollgate.current_features as c (feature, token_type, tokens, has_fallbacks)
  select f.feature, f.token_type, f.tokens,
         exists (select from tollgate.catalogue_fallbacks b where b.version = v_version and b.feature = f.feature)
    from tollgate.catalogue_features f
   where f.version = v_version
  on conflict (feature) do update
    set token_type = excluded.token_type, tokens = excluded.tokens, has_fallbacks = excluded.has_fallbacks;

  loop
    select array_agg(o.id) into v_page
      from (select n.id from public.organizations n where n.id > v_after order by n.id limit 1000) o;
    exit when v_page is null;
    v_after := v_page[cardinality(v_page)];
    perform set_config('tollgate.organizations', array_to_string(v_page, ','), true);
    update tollgate.balances b
       set is_in_plan = n.is_in_plan, burn_order = n.burn_order
      from (select l.organization_id, l.token_type, coalesce(a.tokens, 0) > 0 as is_in_plan, coalesce(p.burn_order, 'soonest_expiry') as burn_order
              from tollgate.balances l
              join public.organizations o on o.id = l.organization_id
              left join tollgate.current_allowances a on a.plan = o.plan and a.token_type = l.token_type
              left join tollgate.current_plans p on p.plan = o.plan
             where l.organization_id = any (v_page)
             order by l.organization_id, l.token_type
               for no key update of l) n
     where b.organization_id = n.organization_id and b.token_type = n.token_type
       and (b.is_in_plan, b.burn_order) is distinct from (n.is_in_plan, n.burn_order);
  end loop;
  return v_version;
end
$$;
