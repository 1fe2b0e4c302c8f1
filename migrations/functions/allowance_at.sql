-- What a plan's period that begins at p_at brings of a token type, by the catalogue that was in force then (the first one
-- where that is later): a change of the catalogue must not rewrite a period that nobody has looked at yet. Reads only.
create or replace function tollgate.allowance_at(p_plan text, p_token_type text, p_at timestamptz) returns bigint
  language sql stable
  set search_path = pg_catalog, pg_temp
as $$
  select coalesce((
    select a.tokens
      from tollgate.catalogue_allowances a
     where a.plan = p_plan and a.token_type = p_token_type
       and a.version = coalesce((select max(v.version) from tollgate.catalogue_versions v where v.applied_at <= p_at),
                                (select min(v.version) from tollgate.catalogue_versions v))), 0)
$$;
