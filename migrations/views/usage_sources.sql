-- Why these tokens: which grants each line of the usage log burnt, or for a refund's line gave back (negative), with their
-- source and price. One query by the line's id; runs with its reader's rights.
create or replace view tollgate.usage_sources with (security_invoker = true) as
  select l.id as usage_id, l.organization_id, l.charge_id, l.token_type, l.created_at,
         g.id as grant_id, g.source, g.priority, g.is_paid, g.unit_price_micros, g.currency, g.expires_at,
         sign(l.tokens_deducted)::integer * (least(p.reaches, s.to_amount) - greatest(p.reaches - p.amount, s.from_amount)) as tokens
    from public.ai_token_usage_log l
    join tollgate.holds h
      on h.organization_id = l.organization_id and h.id = regexp_replace(l.charge_id, '[.][0-9]+$', '')
    join tollgate.charges c
      on c.organization_id = h.organization_id and c.hold_id = h.id and c.number = substring(l.charge_id from '[.]([0-9]+)$')::integer
    left join lateral (
      select sum(r.amount) as until
        from tollgate.refunds r
       where l.tokens_deducted < 0 and r.organization_id = h.organization_id and r.hold_id = h.id
         and r.charge_number = c.number and r.created_at <= l.created_at) r on true
   cross join lateral (
     select case when l.tokens_deducted > 0 then c.starts else c.starts + c.amount - r.until end as from_amount,
            case when l.tokens_deducted > 0 then c.starts + c.amount else c.starts + c.amount - r.until - l.tokens_deducted end as to_amount) s
   cross join lateral (
     select u.grant_id, u.amount, sum(u.amount) over (order by u.rank) as reaches
       from unnest(h.grant_ids, h.grant_amounts) with ordinality as u (grant_id, amount, rank)) p
    join tollgate.grants g on g.organization_id = h.organization_id and g.id = p.grant_id
   where p.reaches > s.from_amount and p.reaches - p.amount < s.to_amount;

grant select on tollgate.usage_sources to tollgate_api, tollgate_worker, tollgate_auditor;
