import type { ClientBase, Pool } from 'pg';
import { CHAIN_CHECKS } from './verifyChain.ts';

/** One promise of DESIGN.md, section 2, as a query that answers the rows that break it. */
export interface Check {
  name: string;
  /** What holds when the check finds nothing. */
  sentence: string;
  /** Answers offending rows only; they name the organization. */
  query: string;
}

export interface Finding {
  check: string;
  sentence: string;
  /** The first offending rows, at most ROWS_PER_CHECK. */
  rows: Record<string, unknown>[];
}

export const ROWS_PER_CHECK = 20;

/**
 * Runs every check on one snapshot and answers those that found something. Writes nothing, locks nothing. The pool must be
 * the auditor's: a role that sees no organization is itself a finding, or an empty database would pass for a sound one.
 */
export function verify(pool: Pool): Promise<Finding[]> {
  return onSnapshot(pool, runChecks);
}

/** The same inside a transaction of the caller's. */
export async function runChecks(client: ClientBase): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, sentence, query } of CHECKS) {
    const { rows } = await client.query(`${query} limit ${ROWS_PER_CHECK}`);
    if (rows.length > 0) findings.push({ check: name, sentence, rows });
  }
  return findings;
}

/** How much there was to check. */
export async function countVerified(
  pool: Pool,
): Promise<Record<'organizations' | 'balances' | 'entries' | 'holds' | 'jobs', number>> {
  return onSnapshot(pool, async (client) => {
    const { rows } = await client.query(`
      select (select count(*) from public.organizations)     as organizations,
             (select count(*) from tollgate.balances)        as balances,
             (select count(*) from tollgate.ledger_entries)  as entries,
             (select count(*) from tollgate.holds)           as holds,
             (select count(*) from tollgate.jobs)            as jobs`);
    return rows[0];
  });
}

async function onSnapshot<T>(pool: Pool, read: (client: ClientBase) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('begin transaction isolation level repeatable read read only');
    // The pool's bound is for requests; a ledger of millions takes longer.
    await client.query('set local statement_timeout = 0');
    const result = await read(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  } finally {
    client.release();
  }
}

/** What each balance's entries add up to, by account. */
const ACCOUNTS = `
  accounts as (
    select e.organization_id, e.token_type,
           coalesce(sum(e.amount) filter (where e.from_account = 'outside'), 0)  as granted,
           coalesce(sum(e.amount) filter (where e.from_account = 'adjusted'), 0) as adjusted_in,
           coalesce(sum(e.amount) filter (where e.to_account = 'adjusted'), 0)   as adjusted_away,
           coalesce(sum(e.amount) filter (where e.to_account = 'consumed'), 0)   as consumed,
           coalesce(sum(e.amount) filter (where e.to_account = 'expired'), 0)    as expired
      from tollgate.ledger_entries e
     group by e.organization_id, e.token_type
  )`;

/** Which part of which grant each open or captured hold stands for; a capture charges in burn order. */
const TAKEN = `
  taken as (
    select h.organization_id, part.grant_id,
           sum(case when h.state = 'held' then part.amount else 0 end) as held,
           sum(case when h.state = 'captured' then greatest(0, least(part.amount, h.captured - part.before)) else 0 end) as consumed
      from tollgate.holds h
     cross join lateral (
       select u.grant_id, u.amount, sum(u.amount) over (order by u.position) - u.amount as before
         from unnest(h.grant_ids, h.grant_amounts) with ordinality as u (grant_id, amount, position)) part
     where h.state in ('held', 'captured')
     group by h.organization_id, part.grant_id
  )`;

/** What the holds and the debts of each job come to. */
const BY_JOB = `
  holds_by_job as (
    select h.organization_id, h.job_id, sum(h.captured) as captured,
           coalesce(sum(h.amount) filter (where h.state = 'held'), 0) as open
      from tollgate.holds h
     where h.job_id is not null
     group by h.organization_id, h.job_id
  ), debts_by_job as (
    select d.organization_id, d.job_id, sum(d.amount) as debts
      from tollgate.debts d
     where d.job_id is not null
     group by d.organization_id, d.job_id
  )`;

export const CHECKS: readonly Check[] = [
  {
    name: 'sees no organization',
    sentence: 'The checks see at least one organization: they did not pass because they could see nothing.',
    query: `select 'no row of organizations is visible to ' || current_user as problem
             where not exists (select from public.organizations)`,
  },
  {
    name: 'I1 ledger',
    sentence: 'By the ledger: granted + adjusted in + owed = available + held + consumed + expired + adjusted away.',
    query: `with ${ACCOUNTS}
            select b.organization_id, b.token_type, a.granted, a.adjusted_in, b.owed, b.available, b.held, a.consumed, a.expired, a.adjusted_away
              from tollgate.balances b
              left join accounts a using (organization_id, token_type)
             where coalesce(a.granted + a.adjusted_in, 0) + b.owed
                   <> b.available + b.held + coalesce(a.consumed + a.expired + a.adjusted_away, 0)`,
  },
  {
    name: 'I1 grants',
    sentence: 'Granted, adjusted in and expired by the ledger, and what is available, are the sums over the grants.',
    query: `with ${ACCOUNTS}, by_grants as (
              select g.organization_id, g.token_type,
                     coalesce(sum(g.amount) filter (where g.source <> 'adjustment'), 0) as granted,
                     coalesce(sum(g.amount) filter (where g.source = 'adjustment'), 0)  as adjusted_in,
                     sum(g.expired)   as expired,
                     sum(g.remaining) as available
                from tollgate.grants g
               group by g.organization_id, g.token_type
            )
            select organization_id, token_type,
                   a.granted, g.granted as granted_by_grants, a.adjusted_in, g.adjusted_in as adjusted_in_by_grants,
                   a.expired, g.expired as expired_by_grants, b.available, g.available as available_by_grants
              from tollgate.balances b
              left join accounts a using (organization_id, token_type)
              left join by_grants g using (organization_id, token_type)
             where (coalesce(a.granted, 0), coalesce(a.adjusted_in, 0), coalesce(a.expired, 0), b.available)
                   <> (coalesce(g.granted, 0), coalesce(g.adjusted_in, 0), coalesce(g.expired, 0), coalesce(g.available, 0))`,
  },
  {
    name: 'I1 consumed',
    sentence: 'What the ledger consumed is what holds captured and what delivered jobs left as debts.',
    query: `with ${ACCOUNTS}, charges as (
              select c.organization_id, c.token_type, sum(c.tokens) as consumed
                from (select h.organization_id, h.token_type, h.captured as tokens from tollgate.holds h
                      union all
                      select d.organization_id, d.token_type, d.amount from tollgate.debts d) c
               group by c.organization_id, c.token_type
            )
            select organization_id, token_type, a.consumed, c.consumed as consumed_by_charges
              from accounts a
              full join charges c using (organization_id, token_type)
             where coalesce(a.consumed, 0) <> coalesce(c.consumed, 0)`,
  },
  {
    name: 'I1 usage log',
    sentence: 'Every charge, and nothing else, stands in the usage log with its tokens.',
    query: `with charged as (
              select h.organization_id, 'hold ' || h.id as charge, h.captured as tokens
                from tollgate.holds h
               where h.captured > 0
              union all
              select d.organization_id, 'debt of job ' || d.job_id, sum(d.amount)
                from tollgate.debts d
               group by d.organization_id, d.job_id
            ), logged as (
              select l.organization_id,
                     coalesce(case when l.metadata ? 'debt' then 'debt of job ' || (l.metadata ->> 'jobId')
                                   else 'hold ' || (l.metadata ->> 'holdId') end, 'log row ' || l.id) as charge,
                     sum(l.tokens_deducted) as tokens
                from public.ai_token_usage_log l
               group by 1, 2
            )
            select organization_id, charge, c.tokens as charged, l.tokens as logged
              from charged c
              full join logged l using (organization_id, charge)
             where c.tokens is distinct from l.tokens`,
  },
  {
    name: 'I2 held',
    sentence: 'What a balance holds is the sum of its open holds.',
    query: `with open_holds as (
              select h.organization_id, h.token_type, sum(h.amount) as held
                from tollgate.holds h
               where h.state = 'held'
               group by h.organization_id, h.token_type
            )
            select organization_id, token_type, b.held, o.held as held_by_holds
              from tollgate.balances b
              full join open_holds o using (organization_id, token_type)
             where coalesce(b.held, 0) <> coalesce(o.held, 0)`,
  },
  {
    name: 'I3 negative',
    sentence: 'No balance is negative, and none ever was.',
    query: `select b.organization_id, b.token_type, null::bigint as entry_number, b.available, b.held, b.owed
              from tollgate.balances b
             where b.available < 0 or b.held < 0 or b.owed < 0
            union all
            select e.organization_id, e.token_type, e.entry_number, e.available_after, e.held_after, e.owed_after
              from tollgate.ledger_entries e
             where e.available_after < 0 or e.held_after < 0 or e.owed_after < 0`,
  },
  {
    name: 'I3 debts',
    sentence: 'What a balance owes is the sum of its open debts.',
    query: `with open_debts as (
              select d.organization_id, d.token_type, sum(d.open_amount) as owed
                from tollgate.debts d
               group by d.organization_id, d.token_type
            )
            select organization_id, token_type, b.owed, d.owed as owed_by_debts
              from tollgate.balances b
              full join open_debts d using (organization_id, token_type)
             where coalesce(b.owed, 0) <> coalesce(d.owed, 0)`,
  },
  {
    name: 'I4 one end',
    sentence: 'A hold has exactly the entries that its state implies: taken once, and what ended it, once.',
    query: `with posted as (
              select e.organization_id, e.token_type, e.hold_id,
                     count(*) filter (where e.kind = 'hold')    as holds,    coalesce(sum(e.amount) filter (where e.kind = 'hold'), 0)    as held,
                     count(*) filter (where e.kind = 'capture') as captures, coalesce(sum(e.amount) filter (where e.kind = 'capture'), 0) as captured,
                     count(*) filter (where e.kind = 'release') as releases, coalesce(sum(e.amount) filter (where e.kind = 'release'), 0) as released,
                     count(*) filter (where e.kind = 'lapse')   as lapses,   coalesce(sum(e.amount) filter (where e.kind = 'lapse'), 0)   as lapsed
                from tollgate.ledger_entries e
               where e.hold_id is not null and e.kind in ('hold', 'capture', 'release', 'lapse')
               group by e.organization_id, e.token_type, e.hold_id
            )
            select organization_id, token_type, hold_id, h.state, h.amount, h.captured as captured_by_hold,
                   p.holds, p.held, p.captures, p.captured, p.releases, p.released, p.lapses, p.lapsed
              from (select h.organization_id, h.token_type, h.id as hold_id, h.state, h.amount, h.captured from tollgate.holds h) h
              full join posted p using (organization_id, token_type, hold_id)
             where (p.holds, p.held, p.captures, p.captured, p.releases, p.released, p.lapses, p.lapsed)
                   is distinct from (
                     1, h.amount,
                     (h.state = 'captured')::integer, h.captured,
                     (h.state = 'released' or (h.state = 'captured' and h.captured < h.amount))::integer,
                     case when h.state in ('released', 'captured') then h.amount - h.captured else 0 end,
                     (h.state = 'lapsed')::integer, case when h.state = 'lapsed' then h.amount else 0 end)`,
  },
  {
    name: 'I4 parts',
    sentence: 'What a hold took adds up to its amount, each part from another grant of its own balance.',
    query: `select h.organization_id, h.id as hold_id, h.token_type, h.amount, h.grant_ids, h.grant_amounts
              from tollgate.holds h
             where (select (coalesce(sum(u.amount), 0), count(distinct g.id), coalesce(bool_and(u.amount > 0), false))
                      from unnest(h.grant_ids, h.grant_amounts) as u (grant_id, amount)
                      left join tollgate.grants g
                        on g.organization_id = h.organization_id and g.token_type = h.token_type and g.id = u.grant_id)
                   is distinct from (h.amount::numeric, cardinality(h.grant_ids)::bigint, true)`,
  },
  {
    name: 'I6 numbering',
    sentence: 'The entries of a balance are numbered from 1 without gaps, up to the number that the balance keeps.',
    query: `with numbered as (
              select e.organization_id, e.token_type, count(*) as entries, min(e.entry_number) as first_entry, max(e.entry_number) as last_entry
                from tollgate.ledger_entries e
               group by e.organization_id, e.token_type
            )
            select organization_id, token_type, b.last_entry, n.entries, n.first_entry, n.last_entry as last_in_ledger
              from tollgate.balances b
              full join numbered n using (organization_id, token_type)
             where (coalesce(n.entries, 0), coalesce(n.first_entry, 1), coalesce(n.last_entry, 0))
                   is distinct from (b.last_entry, 1::bigint, b.last_entry)`,
  },
  {
    name: 'I6 running balances',
    sentence:
      'Each entry leaves what the entry before it left, moved by its own amount; the first starts from nothing.',
    query: `select f.organization_id, f.token_type, f.entry_number, f.kind, f.amount,
                   f.available_before, f.available_after, f.held_before, f.held_after, f.owed_before, f.owed_after
              from (select e.*,
                           lag(e.available_after, 1, 0::bigint) over entries as available_before,
                           lag(e.held_after, 1, 0::bigint)      over entries as held_before,
                           lag(e.owed_after, 1, 0::bigint)      over entries as owed_before
                      from tollgate.ledger_entries e
                    window entries as (partition by e.organization_id, e.token_type order by e.entry_number)) f
             where (f.available_after, f.held_after, f.owed_after) <> (
                     f.available_before + case 'available' when f.to_account then f.amount when f.from_account then - f.amount else 0 end,
                     f.held_before      + case 'held'      when f.to_account then f.amount when f.from_account then - f.amount else 0 end,
                     f.owed_before      - case 'debt'      when f.to_account then f.amount when f.from_account then - f.amount else 0 end)`,
  },
  {
    name: 'I6 fold',
    sentence: 'A balance is what its last entry left.',
    query: `select b.organization_id, b.token_type, b.available, e.available_after, b.held, e.held_after, b.owed, e.owed_after
              from tollgate.balances b
              left join lateral (
                select l.available_after, l.held_after, l.owed_after
                  from tollgate.ledger_entries l
                 where l.organization_id = b.organization_id and l.token_type = b.token_type
                 order by l.entry_number desc
                 limit 1) e on true
             where (b.available, b.held, b.owed)
                   <> (coalesce(e.available_after, 0), coalesce(e.held_after, 0), coalesce(e.owed_after, 0))`,
  },
  {
    name: 'I6 grants',
    sentence:
      'A grant is what remains of it, is held, was consumed, expired, was adjusted away or paid a debt; booked once.',
    query: `with ${TAKEN}, posted as (
              select e.organization_id, e.grant_id,
                     coalesce(sum(e.amount) filter (where e.from_account in ('outside', 'adjusted')), 0) as booked,
                     coalesce(sum(e.amount) filter (where e.kind = 'expire'), 0)                         as expired,
                     coalesce(sum(e.amount) filter (where e.to_account = 'adjusted'), 0)                 as adjusted_away,
                     coalesce(sum(e.amount) filter (where e.kind = 'debt_paid'), 0)                      as debt_paid
                from tollgate.ledger_entries e
               where e.grant_id is not null
               group by e.organization_id, e.grant_id
            )
            select g.organization_id, g.token_type, g.id as grant_id, g.source, g.amount, p.booked, g.remaining, t.held, t.consumed,
                   g.expired, p.expired as expired_by_ledger, p.adjusted_away, p.debt_paid
              from tollgate.grants g
              left join taken t on t.organization_id = g.organization_id and t.grant_id = g.id
              left join posted p on p.organization_id = g.organization_id and p.grant_id = g.id
             where p.grant_id is null
                or (g.amount::numeric, g.expired::numeric, g.amount::numeric) is distinct from (
                     p.booked, p.expired,
                     g.remaining + g.expired + coalesce(t.held, 0) + coalesce(t.consumed, 0) + p.adjusted_away + p.debt_paid)`,
  },
  ...CHAIN_CHECKS,
  {
    name: 'I7 one allowance',
    sentence: 'Each period of a balance has one allowance, and no two periods overlap.',
    query: `select a.organization_id, a.token_type, a.id as grant_id, a.period_start, a.expires_at, a.next_period_start
              from (select g.organization_id, g.token_type, g.id, g.period_start, g.expires_at,
                           lead(g.period_start) over (partition by g.organization_id, g.token_type order by g.period_start, g.id) as next_period_start
                      from tollgate.grants g
                     where g.source = 'allowance') a
             where a.next_period_start < a.expires_at`,
  },
  {
    name: 'I7 nothing minted',
    sentence: 'The plan tokens of the current period add up to the largest allowance that was held in it.',
    query: `select b.organization_id, b.token_type, b.period_start, b.granted_in_period, coalesce(sum(g.amount), 0) as granted_by_grants
              from tollgate.balances b
              left join tollgate.grants g
                on g.organization_id = b.organization_id and g.token_type = b.token_type
               and g.source in ('allowance', 'upgrade') and g.period_start = b.period_start
             group by b.organization_id, b.token_type
            having b.granted_in_period <> coalesce(sum(g.amount), 0)`,
  },
  {
    name: 'I8 time',
    sentence:
      'Nothing that was over when time was last settled still counts, and nothing falls due before the balance looks.',
    query: `select b.organization_id, b.token_type, due.what, due.at, b.settled_through, b.next_change_at
              from tollgate.balances b
             cross join lateral (
               select 'refresh' as what, b.refresh_date as at
               union all
               select 'hold ' || h.id, h.expires_at
                 from tollgate.holds h
                where h.token_type = b.token_type and h.organization_id = b.organization_id and h.state = 'held'
               union all
               select 'grant ' || g.id, g.expires_at
                 from tollgate.grants g
                where g.organization_id = b.organization_id and g.token_type = b.token_type and g.remaining > 0) due
             where due.at < b.next_change_at or due.at < b.settled_through`,
  },
  {
    name: 'I10 charged',
    sentence: 'A charged job has a result, and exactly its tokens were charged: captured, or a debt.',
    query: `with ${BY_JOB}
            select j.organization_id, j.id as job_id, j.tokens, h.captured, h.open, j.debt, d.debts, j.result is not null as has_result
              from tollgate.jobs j
              left join holds_by_job h on h.organization_id = j.organization_id and h.job_id = j.id
              left join debts_by_job d on d.organization_id = j.organization_id and d.job_id = j.id
             where j.state = 'charged'
               and (j.result is null or coalesce(h.open, 0) <> 0 or coalesce(d.debts, 0) <> j.debt
                    or coalesce(h.captured, 0) + j.debt <> j.tokens)`,
  },
  {
    name: 'I10 not charged',
    sentence: 'A job that ended otherwise charged nothing and holds nothing.',
    query: `with ${BY_JOB}
            select j.organization_id, j.id as job_id, j.state, h.captured, h.open, j.debt, d.debts
              from tollgate.jobs j
              left join holds_by_job h on h.organization_id = j.organization_id and h.job_id = j.id
              left join debts_by_job d on d.organization_id = j.organization_id and d.job_id = j.id
             where j.state in ('refunded', 'withdrawn', 'refused')
               and (coalesce(h.open, 0), coalesce(h.captured, 0), coalesce(d.debts, 0), j.debt) <> (0, 0, 0, 0)`,
  },
  {
    name: 'I10 unended',
    sentence: 'A job that has not ended has its tokens on hold, or that hold has lapsed; nothing is charged yet.',
    query: `with ${BY_JOB}
            select j.organization_id, j.id as job_id, j.state, j.tokens, j.hold_id, o.state as hold_state, o.amount, h.open, h.captured, d.debts
              from tollgate.jobs j
              left join tollgate.holds o on o.organization_id = j.organization_id and o.id = j.hold_id and o.job_id = j.id
              left join holds_by_job h on h.organization_id = j.organization_id and h.job_id = j.id
              left join debts_by_job d on d.organization_id = j.organization_id and d.job_id = j.id
             where j.state in ('admitted', 'running', 'delivered')
               and (o.state is null or o.state not in ('held', 'lapsed') or o.amount <> j.tokens
                    or h.open <> case when o.state = 'held' then o.amount else 0 end
                    or h.captured <> 0 or d.debts is not null)`,
  },
  {
    name: 'I10 known job',
    sentence: 'Every hold of a job, debt and idempotency record belongs to a job that exists.',
    query: `select m.organization_id, m.what, m.job_id
              from (select h.organization_id, 'hold ' || h.id as what, h.job_id from tollgate.holds h where h.job_id is not null
                    union all
                    select d.organization_id, 'debt ' || d.id, d.job_id from tollgate.debts d where d.job_id is not null
                    union all
                    select r.organization_id, 'idempotency record', r.job_id from tollgate.idempotency_records r where r.job_id is not null) m
              left join tollgate.jobs j on j.organization_id = m.organization_id and j.id = m.job_id
             where j.id is null`,
  },
  {
    name: 'stuck',
    sentence: 'Every job ends within its time budget; the sweep has had ten minutes to see to it.',
    query: `select j.organization_id, j.id as job_id, j.state, j.created_at, j.began_at, j.time_budget
              from tollgate.jobs j
             where j.ended_at is null
               and coalesce(j.began_at, j.created_at) + j.time_budget + interval '10 minutes' < clock_timestamp()`,
  },
];
