-- Whether an amount is within every sub-limit that a principal and a feature come under on a balance; if so and p_counts, it
-- counts it in each of them. Answers the counters, for the hold to keep: what comes back is taken off them again.
-- A day begins at midnight in the organization's zone.
-- Locks: none; the caller holds the balance, and counters of a balance change only under it.
-- A second run would count twice: the caller counts a hold, or its growth, when it places it, and that is once.
create or replace function tollgate.count_in_limits(
  p_organization text,
  p_token_type   text,
  p_principal    text,
  p_feature      text,
  p_amount       bigint,
  p_counts       boolean,
  p_at           timestamptz,
  out is_within  boolean,
  out counters   bigint[]
)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  v_limit   record;
  v_counter bigint;
begin
  is_within := true;
  for v_limit in
    select l.id, l.tokens, w.subject, w.window_start, coalesce(c.used, 0) as used
      from tollgate.sub_limits l
      join tollgate.balances b on b.organization_id = l.organization_id and b.token_type = l.token_type
      join tollgate.billing_cycles y on y.organization_id = l.organization_id
     cross join lateral (
       select case when l.scope = 'feature' then p_feature else p_principal end as subject,
              case l.every when 'period' then b.period_start
                           else date_trunc('day', p_at at time zone y.time_zone) at time zone y.time_zone end as window_start) w
      left join tollgate.limit_counters c
        on c.organization_id = l.organization_id and c.limit_id = l.id and c.subject = w.subject and c.window_start = w.window_start
     where l.organization_id = p_organization and l.token_type = p_token_type
       and l.subject in ('*', w.subject)
       and case l.scope when 'user' then p_principal like 'user:%' when 'key' then p_principal like 'key:%' else true end
     order by l.id
  loop
    is_within := is_within and v_limit.used + p_amount <= v_limit.tokens;
    continue when not (is_within and p_counts);
    insert into tollgate.limit_counters as c (organization_id, limit_id, subject, window_start, used)
    values (p_organization, v_limit.id, v_limit.subject, v_limit.window_start, 0)
    on conflict (organization_id, limit_id, subject, window_start) do update set used = c.used
    returning id into v_counter;
    counters := counters || v_counter;
  end loop;

  if is_within and p_counts then
    update tollgate.limit_counters c
       set used = c.used + p_amount
     where c.organization_id = p_organization and c.id = any (counters);
  else
    counters := null;
  end if;
end
$$;
