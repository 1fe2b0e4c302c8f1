import type { ClientBase, Pool } from 'pg';
import { rowsOfPage } from './rowsOfPage.ts';
import { CHAIN_CHECKS } from './verifyChain.ts';

/** One promise of DESIGN.md, section 2, as a query that answers the rows that break it. */
export interface Check {
  name: string;
  /** What holds when the check finds nothing. */
  sentence: string;
  /** Answers offending rows only; they name the organization. Looks at organizations after $1 up to $2. */
  query: string;
}

export interface Finding {
  check: string;
  sentence: string;
  /** The first offending rows, at most ROWS_PER_CHECK. */
  rows: Record<string, unknown>[];
}

export const ROWS_PER_CHECK = 20;

/** A page ends with the organization that brings it to so many ledger entries. */
const ENTRIES_PER_PAGE = 200_000;
const ORGANIZATIONS_PER_PAGE = 1_000;

/** How far a verification has come, in ledger entries. */
export interface VerifyProgress {
  entries: number;
  entriesInAll: number;
}

/**
 * Runs every check, page by page of organizations, each page on a snapshot of its own: no snapshot is open for longer than
 * one page takes, and no state change spans organizations, so a page is sound or broken by itself, on a running system too.
 * Answers the checks that found something. Writes nothing, locks nothing. The pool must be the auditor's: a role that sees
 * no organization is itself a finding, or an empty database would pass for a sound one.
 */
export async function verify(pool: Pool, onPage: (progress: VerifyProgress) => void = () => {}): Promise<Finding[]> {
  const found = new Map<string, Finding>();
  const entriesInAll = await onSnapshot(pool, countEntries);
  let entries = 0;
  let after: string | null = null;
  do {
    const page: Page = await onSnapshot(pool, async (client) => {
      const page = await nextPage(client, after);
      for (const finding of await runChecks(client, after, page.until)) {
        const known = found.get(finding.check);
        if (known === undefined) found.set(finding.check, finding);
        else known.rows = [...known.rows, ...finding.rows].slice(0, ROWS_PER_CHECK);
      }
      return page;
    });
    after = page.until;
    entries += page.entries;
    onPage({ entries, entriesInAll: Math.max(entries, entriesInAll) });
  } while (after !== null);
  return CHECKS.flatMap(({ name }) => found.get(name) ?? []);
}

interface Page {
  /** Null: all that is left, also what names an organization that does not exist. */
  until: string | null;
  entries: number;
}

async function nextPage(client: ClientBase, after: string | null): Promise<Page> {
  const { rows } = await client.query<{ id: string; entries: number }>(
    `select o.id, coalesce((select sum(b.last_entry) from tollgate.balances b where b.organization_id = o.id), 0)::bigint as entries
       from public.organizations o
      where $1::text is null or o.id > $1
      order by o.id
      limit $2`,
    [after, ORGANIZATIONS_PER_PAGE],
  );
  let entries = 0;
  for (const [index, row] of rows.entries()) {
    entries += row.entries;
    if (entries >= ENTRIES_PER_PAGE && index < rows.length - 1) return { until: row.id, entries };
  }
  return { until: rows.length === ORGANIZATIONS_PER_PAGE ? rows.at(-1)!.id : null, entries };
}

/** The checks on organizations after `after` up to `until` (null: no bound), inside a transaction of the caller's. */
export async function runChecks(
  client: ClientBase,
  after: string | null = null,
  until: string | null = null,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name, sentence, query } of CHECKS) {
    const { rows } = await client.query(`${query} limit ${ROWS_PER_CHECK}`, query.includes('$1') ? [after, until] : []);
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
             (select count(*) from tollgate.holds)           as holds,
             (select count(*) from tollgate.jobs)            as jobs`);
    return { ...rows[0], entries: await countEntries(client) };
  });
}

/** From the numbers that the balances keep: to count the entries themselves would read the whole ledger. */
async function countEntries(client: ClientBase): Promise<number> {
  const { rows } = await client.query(
    'select coalesce(sum(b.last_entry), 0)::bigint as entries from tollgate.balances b',
  );
  return rows[0].entries;
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

const ENTRIES = rowsOfPage('tollgate.ledger_entries');
const HOLDS = rowsOfPage('tollgate.holds');
const STEPS = rowsOfPage('tollgate.hold_steps');
const GRANTS = rowsOfPage('tollgate.grants');
const BALANCES = rowsOfPage('tollgate.balances');
const DEBTS = rowsOfPage('tollgate.debts');
const JOBS = rowsOfPage('tollgate.jobs');
const RECORDS = rowsOfPage('tollgate.idempotency_records');
const USAGE = rowsOfPage('public.ai_token_usage_log');
const REFUNDED = rowsOfPage('tollgate.refunded_charges');
const REFUNDS = rowsOfPage('tollgate.refunds');
const ADJUSTMENTS = rowsOfPage('tollgate.adjustments');
const COUNTERS = rowsOfPage('tollgate.limit_counters');

/** What each balance's entries add up to, by account. */
const ACCOUNTS = `
  accounts as (
    select e.organization_id, e.token_type,
           coalesce(sum(e.amount) filter (where e.from_account = 'outside'), 0)  as granted,
           coalesce(sum(e.amount) filter (where e.from_account = 'adjusted'), 0) as adjusted_in,
           coalesce(sum(e.amount) filter (where e.to_account = 'adjusted'), 0)   as adjusted_away,
           coalesce(sum(e.amount) filter (where e.to_account = 'consumed'), 0)
             - coalesce(sum(e.amount) filter (where e.from_account = 'consumed'), 0) as consumed,
           coalesce(sum(e.amount) filter (where e.to_account = 'expired'), 0)    as expired
      from ${ENTRIES} e
     group by e.organization_id, e.token_type
  )`;

/** What a hold took, part by part, and up to where each reaches. */
const PARTS = `(
       select u.grant_id, u.amount, sum(u.amount) over (order by u.position) as reaches
         from unnest(h.grant_ids, h.grant_amounts) with ordinality as u (grant_id, amount, position))`;

/**
 * Which part of which grant each hold stands for: its charges burn a prefix of what it took, in the order taken, and what is
 * open of it is behind that. A refund gives back the end of its charge.
 */
const TAKEN = `
  refunded_slices as (
    select r.organization_id, r.hold_id, s.starts + r.charged - r.refunded as from_amount, s.starts + r.charged as to_amount
      from ${REFUNDED} r
     cross join lateral (
       select coalesce(sum(c.amount), 0) as starts
         from tollgate.hold_steps c
        where c.organization_id = r.organization_id and c.hold_id = r.hold_id and c.verb = 'capture' and c.charge_number < r.charge_number) s
  ), taken as (
    select m.organization_id, m.grant_id, sum(m.held) as held, sum(m.consumed) as consumed
      from (select h.organization_id, part.grant_id,
                   case when h.state = 'held' then greatest(0, least(part.amount, part.reaches - h.captured)) else 0 end as held,
                   greatest(0, least(part.amount, h.captured - (part.reaches - part.amount))) as consumed
              from ${HOLDS} h
             cross join lateral ${PARTS} part
             where h.state = 'held' or h.captured > 0
            union all
            select h.organization_id, part.grant_id, 0,
                   - greatest(0, least(part.reaches, r.to_amount) - greatest(part.reaches - part.amount, r.from_amount))
              from refunded_slices r
              join ${HOLDS} h on h.organization_id = r.organization_id and h.id = r.hold_id
             cross join lateral ${PARTS} part) m
     group by m.organization_id, m.grant_id
  )`;

/** What the holds and the debts of each job come to. */
const BY_JOB = `
  holds_by_job as (
    select h.organization_id, h.job_id, sum(h.captured) as captured,
           coalesce(sum(h.amount - h.captured) filter (where h.state = 'held'), 0) as open
      from ${HOLDS} h
     where h.job_id is not null
     group by h.organization_id, h.job_id
  ), debts_by_job as (
    select d.organization_id, d.job_id, sum(d.amount) as debts
      from ${DEBTS} d
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
              from ${BALANCES} b
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
                from ${GRANTS} g
               group by g.organization_id, g.token_type
            )
            select organization_id, token_type,
                   a.granted, g.granted as granted_by_grants, a.adjusted_in, g.adjusted_in as adjusted_in_by_grants,
                   a.expired, g.expired as expired_by_grants, b.available, g.available as available_by_grants
              from ${BALANCES} b
              left join accounts a using (organization_id, token_type)
              left join by_grants g using (organization_id, token_type)
             where (coalesce(a.granted, 0), coalesce(a.adjusted_in, 0), coalesce(a.expired, 0), b.available)
                   <> (coalesce(g.granted, 0), coalesce(g.adjusted_in, 0), coalesce(g.expired, 0), coalesce(g.available, 0))`,
  },
  {
    name: 'I1 consumed',
    sentence:
      'What the ledger consumed is what holds captured and delivered jobs left as debts, less what was refunded.',
    query: `with ${ACCOUNTS}, charges as (
              select c.organization_id, c.token_type, sum(c.tokens) as consumed
                from (select h.organization_id, h.token_type, h.captured as tokens from ${HOLDS} h
                      union all
                      select d.organization_id, d.token_type, d.amount from ${DEBTS} d
                      union all
                      select r.organization_id, h.token_type, - r.refunded
                        from ${REFUNDED} r
                        join ${HOLDS} h on h.organization_id = r.organization_id and h.id = r.hold_id) c
               group by c.organization_id, c.token_type
            )
            select organization_id, token_type, a.consumed, c.consumed as consumed_by_charges
              from accounts a
              full join charges c using (organization_id, token_type)
             where coalesce(a.consumed, 0) <> coalesce(c.consumed, 0)`,
  },
  {
    name: 'I1 usage log',
    sentence:
      'Every charge and every refund, and nothing else, stands in the usage log with its tokens and their type.',
    query: `with charged as (
              select h.organization_id, h.id as charged_on, h.token_type, h.captured as tokens, coalesce(r.refunded, 0) as refunded
                from ${HOLDS} h
                left join (select r.organization_id, r.hold_id, sum(r.refunded) as refunded from ${REFUNDED} r group by 1, 2) r
                  on r.organization_id = h.organization_id and r.hold_id = h.id
               where h.captured > 0
              union all
              select d.organization_id, 'debt:' || d.job_id, d.token_type, sum(d.amount), 0
                from ${DEBTS} d
               group by 1, 2, 3
            ), logged as (
              select l.organization_id, regexp_replace(l.charge_id, '[.][0-9]+$', '') as charged_on, l.token_type,
                     coalesce(sum(l.tokens_deducted) filter (where l.tokens_deducted > 0), 0)   as tokens,
                     coalesce(- sum(l.tokens_deducted) filter (where l.tokens_deducted < 0), 0) as refunded
                from ${USAGE} l
               group by 1, 2, 3
            )
            select organization_id, charged_on, token_type, c.tokens as charged, l.tokens as logged, c.refunded, l.refunded as logged_refunded
              from charged c
              full join logged l using (organization_id, charged_on, token_type)
             where (c.tokens, c.refunded) is distinct from (l.tokens, l.refunded)`,
  },
  {
    name: 'I1 refunds',
    sentence: 'What was given back of a charge is the sum of its refunds, and the charge is what its hold was charged.',
    query: `select c.organization_id, c.hold_id, c.charge_number, c.charged, c.refunded, r.refunds, h.captured, s.amount as charged_by_step
              from ${REFUNDED} c
              left join (select r.organization_id, r.hold_id, r.charge_number, sum(r.amount) as refunds from ${REFUNDS} r group by 1, 2, 3) r
                on r.organization_id = c.organization_id and r.hold_id = c.hold_id and r.charge_number = c.charge_number
              left join ${HOLDS} h on h.organization_id = c.organization_id and h.id = c.hold_id
              left join ${STEPS} s on s.organization_id = c.organization_id and s.hold_id = c.hold_id and s.charge_number = c.charge_number
              left join (select t.organization_id, t.hold_id, sum(t.amount) as by_steps from ${STEPS} t where t.verb = 'capture' group by 1, 2) k
                on k.organization_id = c.organization_id and k.hold_id = c.hold_id
             where r.refunds is distinct from c.refunded::numeric or c.refunded > c.charged
                or c.charged::numeric is distinct from coalesce(s.amount, h.captured - coalesce(k.by_steps, 0))`,
  },
  {
    name: 'I1 adjustments',
    sentence:
      'What the ledger adjusted is what the adjustments say, each with its reason; a reversal undoes exactly one.',
    query: `with adjusted as (
              select e.organization_id, e.token_type, sum(case e.to_account when 'available' then e.amount else - e.amount end) as amount
                from ${ENTRIES} e
               where e.kind = 'adjustment'
               group by 1, 2
            ), booked as (
              select a.organization_id, a.token_type, sum(a.amount) as amount from ${ADJUSTMENTS} a group by 1, 2
            )
            select organization_id, token_type, null::bigint as adjustment, l.amount as by_ledger, b.amount as by_adjustments
              from adjusted l
              full join booked b using (organization_id, token_type)
             where coalesce(l.amount, 0) <> coalesce(b.amount, 0)
            union all
            select r.organization_id, r.token_type, r.id, r.amount, a.amount
              from ${ADJUSTMENTS} r
              join ${ADJUSTMENTS} a on a.organization_id = r.organization_id and a.id = r.reverses
             where (r.amount, r.token_type) is distinct from (- a.amount, a.token_type)`,
  },
  {
    name: 'I2 held',
    sentence: 'What a balance holds is the sum of its open holds.',
    query: `with open_holds as (
              select h.organization_id, h.token_type, sum(h.amount - h.captured) as held
                from ${HOLDS} h
               where h.state = 'held'
               group by h.organization_id, h.token_type
            )
            select organization_id, token_type, b.held, o.held as held_by_holds
              from ${BALANCES} b
              full join open_holds o using (organization_id, token_type)
             where coalesce(b.held, 0) <> coalesce(o.held, 0)`,
  },
  {
    name: 'I2 open holds',
    sentence: 'Each balance counts exactly the holds that are open on it.',
    query: `select b.organization_id, b.token_type, b.open_holds, count(h.id) as open
              from ${BALANCES} b
              left join ${HOLDS} h on h.organization_id = b.organization_id and h.token_type = b.token_type and h.state = 'held'
             group by b.organization_id, b.token_type, b.open_holds
            having b.open_holds <> count(h.id)`,
  },
  {
    name: 'I3 negative',
    sentence: 'No balance is negative, and none ever was.',
    query: `select b.organization_id, b.token_type, null::bigint as entry_number, b.available, b.held, b.owed
              from ${BALANCES} b
             where b.available < 0 or b.held < 0 or b.owed < 0
            union all
            select e.organization_id, e.token_type, e.entry_number, e.available_after, e.held_after, e.owed_after
              from ${ENTRIES} e
             where e.available_after < 0 or e.held_after < 0 or e.owed_after < 0`,
  },
  {
    name: 'I3 debts',
    sentence: 'What a balance owes is the sum of its open debts.',
    query: `with open_debts as (
              select d.organization_id, d.token_type, sum(d.open_amount) as owed
                from ${DEBTS} d
               group by d.organization_id, d.token_type
            )
            select organization_id, token_type, b.owed, d.owed as owed_by_debts
              from ${BALANCES} b
              full join open_debts d using (organization_id, token_type)
             where coalesce(b.owed, 0) <> coalesce(d.owed, 0)`,
  },
  {
    name: 'I2 limits',
    sentence: 'A sub-limit has counted what the holds under it hold and charged, less what came back.',
    query: `with counted as (
              select h.organization_id, k.id,
                     sum(case when h.state = 'held' then h.amount else h.captured end - coalesce(r.refunded, 0)) as used
                from ${HOLDS} h
               cross join unnest(h.limit_counters) as k (id)
                left join (select r.organization_id, r.hold_id, sum(r.refunded) as refunded from ${REFUNDED} r group by 1, 2) r
                  on r.organization_id = h.organization_id and r.hold_id = h.id
               group by 1, 2
            )
            select c.organization_id, c.id as counter, c.used, k.used as used_by_holds
              from ${COUNTERS} c
              left join counted k on k.organization_id = c.organization_id and k.id = c.id
             where c.used <> coalesce(k.used, 0)`,
  },
  {
    name: 'I4 one end',
    sentence: 'A hold has exactly the entries that its steps and its state imply: what it took, its charges, one end.',
    query: `with posted as (
              select e.organization_id, e.token_type, e.hold_id,
                     count(*) filter (where e.kind = 'hold')    as holds,    coalesce(sum(e.amount) filter (where e.kind = 'hold'), 0)    as held,
                     count(*) filter (where e.kind = 'capture') as captures, coalesce(sum(e.amount) filter (where e.kind = 'capture'), 0) as captured,
                     count(*) filter (where e.kind = 'release') as releases, coalesce(sum(e.amount) filter (where e.kind = 'release'), 0) as released,
                     count(*) filter (where e.kind = 'lapse')   as lapses,   coalesce(sum(e.amount) filter (where e.kind = 'lapse'), 0)   as lapsed
                from ${ENTRIES} e
               where e.hold_id is not null and e.kind in ('hold', 'capture', 'release', 'lapse')
               group by e.organization_id, e.token_type, e.hold_id
            ), steps as (
              select s.organization_id, s.hold_id,
                     count(*) filter (where s.verb <> 'capture') as growths,
                     count(s.charge_number) as captures,
                     coalesce(sum(s.amount) filter (where s.verb = 'capture'), 0) as captured
                from ${STEPS} s
               group by s.organization_id, s.hold_id
            )
            select organization_id, token_type, hold_id, h.state, h.amount, h.captured as captured_by_hold, s.growths, s.captures as captures_by_steps,
                   p.holds, p.held, p.captures, p.captured, p.releases, p.released, p.lapses, p.lapsed
              from (select h.organization_id, h.token_type, h.id as hold_id, h.state, h.amount, h.captured, h.amount - h.captured as open from ${HOLDS} h) h
              full join posted p using (organization_id, token_type, hold_id)
              left join steps s using (organization_id, hold_id)
             where (p.holds, p.held, p.captures, p.captured, p.releases, p.released, p.lapses, p.lapsed)
                   is distinct from (
                     1 + coalesce(s.growths, 0), h.amount,
                     coalesce(s.captures, 0) + (h.captured > coalesce(s.captured, 0))::integer, h.captured,
                     (h.state in ('released', 'captured') and h.open > 0)::integer,
                     case when h.state in ('released', 'captured') then h.open else 0 end,
                     (h.state = 'lapsed' and h.open > 0)::integer, case when h.state = 'lapsed' then h.open else 0 end)`,
  },
  {
    name: 'I4 parts',
    sentence: 'What a hold took adds up to its amount, each part from a grant of its own balance.',
    query: `select h.organization_id, h.id as hold_id, h.token_type, h.amount, h.grant_ids, h.grant_amounts
              from ${HOLDS} h
             where (select (coalesce(sum(u.amount), 0), count(g.id), coalesce(bool_and(u.amount > 0), false))
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
                from ${ENTRIES} e
               group by e.organization_id, e.token_type
            )
            select organization_id, token_type, b.last_entry, n.entries, n.first_entry, n.last_entry as last_in_ledger
              from ${BALANCES} b
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
                      from ${ENTRIES} e
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
              from ${BALANCES} b
              left join lateral (
                select l.available_after, l.held_after, l.owed_after
                  from ${ENTRIES} l
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
                from ${ENTRIES} e
               where e.grant_id is not null
               group by e.organization_id, e.grant_id
            )
            select g.organization_id, g.token_type, g.id as grant_id, g.source, g.amount, p.booked, g.remaining, t.held, t.consumed,
                   g.expired, p.expired as expired_by_ledger, p.adjusted_away, p.debt_paid
              from ${GRANTS} g
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
                      from ${GRANTS} g
                     where g.source = 'allowance') a
             where a.next_period_start < a.expires_at`,
  },
  {
    name: 'I7 nothing minted',
    sentence: 'The plan tokens of the current period add up to the largest allowance that was held in it.',
    query: `select b.organization_id, b.token_type, b.period_start, b.granted_in_period, coalesce(sum(g.amount), 0) as granted_by_grants
              from ${BALANCES} b
              left join ${GRANTS} g
                on g.organization_id = b.organization_id and g.token_type = b.token_type
               and g.source in ('allowance', 'upgrade') and g.period_start = b.period_start
             group by b.organization_id, b.token_type, b.period_start, b.granted_in_period
            having b.granted_in_period <> coalesce(sum(g.amount), 0)`,
  },
  {
    name: 'I8 time',
    sentence:
      'Nothing that was over when time was last settled still counts, and nothing falls due before the balance looks.',
    query: `select b.organization_id, b.token_type, due.what, due.at, b.settled_through, b.next_change_at
              from ${BALANCES} b
             cross join lateral (
               select 'refresh' as what, b.refresh_date as at
               union all
               select 'hold ' || h.id, h.expires_at
                 from ${HOLDS} h
                where h.organization_id || '/' || h.token_type = b.organization_id || '/' || b.token_type and h.state = 'held'
               union all
               select 'grant ' || g.id, g.expires_at
                 from ${GRANTS} g
                where g.organization_id = b.organization_id and g.token_type = b.token_type and g.remaining > 0) due
             where due.at < b.next_change_at or due.at < b.settled_through`,
  },
  {
    name: 'admission',
    sentence:
      'Each balance says what is so of its organization: whether it is suspended, and its own cap on open holds.',
    query: `select b.organization_id, b.token_type, b.is_suspended, s.since, b.most_open_holds, r.most_open_holds as cap
              from ${BALANCES} b
              left join tollgate.suspensions s on s.organization_id = b.organization_id
              left join tollgate.organization_rules r on r.organization_id = b.organization_id
             where b.is_suspended <> (s.organization_id is not null) or b.most_open_holds <> r.most_open_holds`,
  },
  {
    name: 'low balance',
    sentence: 'A balance counts as low exactly while it lies below its threshold.',
    query: `select b.organization_id, b.token_type, b.available, b.low_threshold, b.is_low
              from ${BALANCES} b
             where b.is_low <> coalesce(b.available < b.low_threshold, false)`,
  },
  {
    name: 'I10 charged',
    sentence:
      'A charged job has a result, or had one that was erased, and exactly its tokens were charged: captured, or a debt.',
    query: `with ${BY_JOB}
            select j.organization_id, j.id as job_id, j.tokens, h.captured, h.open, j.debt, d.debts, j.result is not null as has_result
              from ${JOBS} j
              left join holds_by_job h on h.organization_id = j.organization_id and h.job_id = j.id
              left join debts_by_job d on d.organization_id = j.organization_id and d.job_id = j.id
             where j.state = 'charged'
               and ((j.result is null and j.result_erased_at is null) or coalesce(h.open, 0) <> 0 or coalesce(d.debts, 0) <> j.debt
                    or coalesce(h.captured, 0) + j.debt <> j.tokens)`,
  },
  {
    name: 'I10 not charged',
    sentence: 'A job that ended otherwise charged nothing and holds nothing.',
    query: `with ${BY_JOB}
            select j.organization_id, j.id as job_id, j.state, h.captured, h.open, j.debt, d.debts
              from ${JOBS} j
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
              from ${JOBS} j
              left join ${HOLDS} o on o.organization_id = j.organization_id and o.id = j.hold_id and o.job_id = j.id
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
              from (select h.organization_id, 'hold ' || h.id as what, h.job_id from ${HOLDS} h where h.job_id is not null
                    union all
                    select d.organization_id, 'debt ' || d.id, d.job_id from ${DEBTS} d where d.job_id is not null
                    union all
                    select r.organization_id, 'idempotency record', r.job_id from ${RECORDS} r where r.job_id is not null) m
              left join ${JOBS} j on j.organization_id = m.organization_id and j.id = m.job_id
             where j.id is null`,
  },
  {
    name: 'stuck',
    sentence: 'Every job ends within its time budget; the sweep has had ten minutes to see to it.',
    query: `select j.organization_id, j.id as job_id, j.state, j.created_at, j.began_at, j.time_budget
              from ${JOBS} j
             where j.ended_at is null
               and coalesce(j.began_at, j.created_at) + j.time_budget + interval '10 minutes' < clock_timestamp()`,
  },
];
