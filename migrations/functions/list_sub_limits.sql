-- The sub-limits of an organization, with the window that each counts in now and what is used in it, by subject: the most used
-- first, p_subjects of them at most. The windows are those of tollgate.count_in_limits.
-- Locks: the balances that have one, to settle what time has done: a period that is over counts no more. A second run reads again.
create or replace function tollgate.list_sub_limits(p_organization text, p_subjects integer)
  returns table (token_type text, scope text, subject text, every text, tokens bigint, window_start timestamptz, used jsonb)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_types text[] := array(select distinct l.token_type from tollgate.sub_limits l where l.organization_id = p_organization);
  v_now   timestamptz;
begin
  if cardinality(v_types) = 0 then
    return;
  end if;
  v_now := tollgate.lock_balances(array_fill(p_organization, array[cardinality(v_types)]), v_types);
  return query
    select l.token_type, l.scope, l.subject, l.every, l.tokens, w.window_start,
           (select coalesce(jsonb_agg(jsonb_build_object('subject', m.subject, 'tokens', m.used) order by m.used desc, m.subject), '[]')
              from (select c.subject, c.used from tollgate.limit_counters c
                     where c.organization_id = l.organization_id and c.limit_id = l.id and c.window_start = w.window_start and c.used > 0
                     order by c.used desc, c.subject
                     limit p_subjects) m)
      from tollgate.sub_limits l
      join tollgate.balances b on b.organization_id = l.organization_id and b.token_type = l.token_type
      join tollgate.billing_cycles y on y.organization_id = l.organization_id
     cross join lateral (
       select case l.every when 'period' then b.period_start
                           else date_trunc('day', v_now at time zone y.time_zone) at time zone y.time_zone end as window_start) w
     where l.organization_id = p_organization and l.token_type = any (v_types)
     order by l.token_type, l.scope, l.subject, l.every;
end
$$;
grant execute on function tollgate.list_sub_limits(text, integer) to tollgate_api;
