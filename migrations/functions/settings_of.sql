-- How an organization wants it, as the API shows it. With the caller's own rights: of an organization that the transaction has named.
-- Reads only.
create or replace function tollgate.settings_of(p_organization text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  select jsonb_build_object(
    'captureAboveHold', coalesce((select r.capture_above_hold from tollgate.organization_rules r where r.organization_id = p_organization), 'refuse'),
    'lowBalances', (
      select jsonb_object_agg(t.token_type, b.low_threshold)
        from (select distinct a.token_type from tollgate.current_allowances a) t
        left join tollgate.balances b on b.organization_id = p_organization and b.token_type = t.token_type))
$$;
grant execute on function tollgate.settings_of(text) to tollgate_api;
