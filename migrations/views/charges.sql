-- The charges of holds: which slice each is of what its hold took (from starts on, amount tokens), and when it was made. A charge
-- under a key is a step of its hold; the last one needs none, and is what those left of all that was captured. An end that
-- found nothing left to charge is a step, and no charge. Runs with its reader's rights; a condition on organization_id and
-- hold_id uses the primary keys.
create or replace view tollgate.charges with (security_invoker = true) as
  select h.organization_id, h.id as hold_id, c.number, c.starts, c.amount, c.made_at
    from tollgate.holds h
   cross join lateral (
     select s.charge_number as number,
            (sum(s.amount) over (order by s.charge_number rows unbounded preceding) - s.amount)::bigint as starts,
            s.amount, s.created_at as made_at
       from tollgate.hold_steps s
      where s.organization_id = h.organization_id and s.hold_id = h.id and s.charge_number is not null
     union all
     select count(*)::integer + 1, coalesce(sum(s.amount), 0)::bigint, (h.captured - coalesce(sum(s.amount), 0))::bigint, h.ended_at
       from tollgate.hold_steps s
      where s.organization_id = h.organization_id and s.hold_id = h.id and s.charge_number is not null
     having h.captured > coalesce(sum(s.amount), 0)) c
   where h.captured > 0;

grant select on tollgate.charges to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor;
