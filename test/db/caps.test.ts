import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { setCaps } from '../../db/caps.ts';
import { captureHolds, holdTokens } from '../../db/holds.ts';
import { admitJob, beginJob, commitJob, storeResult, withdrawJob } from '../../db/jobs.ts';
import { quoteHolds } from '../../db/quotes.ts';
import { deductTokens } from '../../db/tokens.ts';
import { admissionOf } from '../support/admission.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { auditOf, newOperator, type TestOperator } from '../support/operator.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let operator: TestOperator;
let organization: TestOrganization;
let organizationId: string;
let holder: Holder;
beforeAll(async () => {
  database = await freshDatabase();
  operator = await newOperator(database);
});
/** 50 lead tokens a month. */
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'pro');
  organizationId = organization.organizationId;
  holder = holderOf(database.api, organization);
});
/** That a balance counts the holds that are open on it is one of them. */
afterEach(() => expectInvariants(database.superuser));
afterAll(() => database.drop());

function tally(outcomes: readonly { outcome: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { outcome } of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}
const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));
const openLeads = async (): Promise<number> =>
  (
    await database.superuser.query(
      `select open_holds from tollgate.balances where organization_id = $1 and token_type = 'lead_generation'`,
      [organizationId],
    )
  ).rows[0].open_holds;
const admit = (jobId: string, feature = 'generate_goal') =>
  admitJob(database.api, admissionOf(organization, jobId, { feature }));

describe('the cap on open holds', () => {
  it('S9, R1: admits exactly as many of 60 parallel holds, one by one and in batches', async () => {
    await operator.cap(organizationId, { holds: 7 });
    const answers = await Promise.all([
      ...times(40, async (n) => [await holder.hold(`alone-${n}`, 1)]),
      ...times(4, (n) =>
        holdTokens(
          database.api,
          times(5, (m) => holder.request(`batch-${n}-${m}`, 1)),
        ),
      ),
    ]);
    expect(tally(answers.flat())).toEqual({ held: 7, too_many_holds: 53 });
    expect(await openLeads()).toBe(7);
  });

  it('is decided row by row: others of the batch, other types and other organizations go on', async () => {
    const another = holderOf(database.api, await createOrganization(database.superuser, 'pro'));
    await operator.cap(organizationId, { holds: 2 });
    expect(
      await holdTokens(database.api, [
        holder.request('too-large', 51),
        holder.request('first', 1),
        holder.request('first', 1),
        holder.request('second', 1),
        holder.request('third', 1),
        holder.request('second', 1),
        holder.request('of-another-type', 1, { feature: 'forecast_revenue' }),
        another.request('third', 1),
      ]),
    ).toMatchObject(
      ['tokens_insufficient', 'held', 'held', 'held', 'too_many_holds', 'held', 'held', 'held'].map((outcome) => ({
        outcome,
      })),
    );
    // A repeat is no further hold.
    expect(await holder.hold('second', 1)).toMatchObject({ outcome: 'held', isRepeat: true });
    const [quoted, other] = await quoteHolds(database.api, organization, [
      { feature: 'generate_leads', amount: 1 },
      { feature: 'forecast_revenue', amount: 1 },
    ]);
    expect(quoted).toMatchObject({
      outcome: 'too_many_holds',
      tokenType: 'lead_generation',
      available: 48,
      grants: [],
    });
    expect(other).toMatchObject({ outcome: 'held' });
  });

  const ends: [string, (id: string) => Promise<unknown>][] = [
    ['a capture of all', (id) => holder.capture(id)],
    ['a capture of a part that is the last', (id) => holder.capture(id, 1)],
    ['a release', (id) => holder.release(id)],
    [
      'a capture in a batch',
      (id) =>
        captureHolds(database.api, [
          { ...organization, holdId: id, amount: 2 },
          { ...organization, holdId: 'none', amount: 1 },
        ]),
    ],
    [
      'a last capture after a part',
      async (id) => {
        await holder.capture(id, 1, { key: 'part', isLast: false });
        expect(await openLeads()).toBe(1);
        await holder.capture(id, 1, { key: 'last', isLast: true });
      },
    ],
    [
      'a release after parts of all that was held',
      async (id) => {
        await holder.capture(id, 3, { key: 'part', isLast: false });
        expect(await openLeads()).toBe(1);
        await holder.release(id);
      },
    ],
    [
      'a capture of what it grew to',
      async (id) => {
        await holder.grow(id, 'more', 2);
        expect(await openLeads()).toBe(1);
        await holder.capture(id, 5);
      },
    ],
    ['a lapse', () => elapse(database.superuser, organizationId, '61 seconds')],
    [
      'a lapse after a part',
      async (id) => {
        await holder.capture(id, 1, { key: 'part', isLast: false });
        await elapse(database.superuser, organizationId, '61 seconds');
      },
    ],
    [
      'a lapse after parts of all that was held',
      async (id) => {
        await holder.capture(id, 3, { key: 'part', isLast: false });
        await elapse(database.superuser, organizationId, '61 seconds');
      },
    ],
  ];
  it.each(ends)('%s makes room for one more, and for one only', async (_, end) => {
    await operator.cap(organizationId, { holds: 1 });
    expect(await holder.hold('h', 3)).toMatchObject({ outcome: 'held' });
    expect(await holder.hold('early', 3)).toMatchObject({ outcome: 'too_many_holds' });
    await end('h');
    expect(await holder.hold('next', 3)).toMatchObject({ outcome: 'held' });
    expect(await openLeads()).toBe(1);
    expect(await holder.hold('too-many', 3)).toMatchObject({ outcome: 'too_many_holds' });
  });

  it('does not count a draw above the hold as another one', async () => {
    await database.superuser.query(`select tollgate.set_capture_rule($1, 'draw')`, [organizationId]);
    await operator.cap(organizationId, { holds: 1 });
    await holder.hold('h', 3);
    expect(await holder.capture('h', 10)).toMatchObject({ outcome: 'captured', captured: 10 });
    expect(await openLeads()).toBe(0);
  });

  it('lets a deduction through, which leaves nothing open', async () => {
    await operator.cap(organizationId, { holds: 1 });
    await holder.hold('h', 3);
    const deduction = await deductTokens(database.api, {
      ...organization,
      holdId: 'deduction',
      feature: 'generate_leads',
      metadata: {},
      idempotency: { key: 'key', requestHash: createHash('sha256').digest() },
    });
    expect(deduction).toMatchObject({ outcome: 'deducted' });
    expect(await openLeads()).toBe(1);
  });

  it('holds for jobs, also for one whose hold must be taken anew; what was delivered is charged all the same', async () => {
    await operator.cap(organizationId, { holds: 2 });
    for (const id of ['late', 'delivered']) await admit(id, 'generate_leads');
    expect(await admit('third', 'generate_leads')).toMatchObject({ outcome: 'too_many_holds' });
    await beginJob(database.worker, organizationId, 'delivered');
    await storeResult(database.worker, organizationId, 'delivered', {}, {});
    await elapse(database.superuser, organizationId, '2 days');
    for (const id of ['x', 'y']) await holder.hold(id, 1);
    expect(await beginJob(database.worker, organizationId, 'late')).toMatchObject({
      outcome: 'refused',
      code: 'too_many_holds',
    });
    expect(await commitJob(database.worker, organizationId, 'delivered')).toMatchObject({
      outcome: 'charged',
      debt: 0,
    });
  });

  it('is 10,000 where nobody set another', async () => {
    const count = (holds: number) =>
      database.superuser.query('update tollgate.balances set open_holds = open_holds + $2 where organization_id = $1', [
        organizationId,
        holds,
      ]);
    await count(9_998);
    expect(await holder.hold('one-less', 1)).toMatchObject({ outcome: 'held' });
    expect(tally(await holdTokens(database.api, [holder.request('last', 1), holder.request('over', 1)]))).toEqual({
      held: 1,
      too_many_holds: 1,
    });
    expect(await holder.hold('over', 1)).toMatchObject({ outcome: 'too_many_holds' });
    await count(-9_998);
  });

  it('below what is open ends nothing; a balance that is made later has it too', async () => {
    for (const id of ['a', 'b', 'c']) await holder.hold(id, 1);
    const client = await database.superuser.connect();
    await client.query("begin; set local session_replication_role = 'replica'");
    await operator.cap(organizationId, { holds: 2 });
    for (const table of ['grants', 'ledger_blocks', 'balances'])
      await client.query(`delete from tollgate.${table} where organization_id = $1 and token_type = 'forecast'`, [
        organizationId,
      ]);
    await client.query('commit');
    client.release();
    expect(await holder.hold('d', 1)).toMatchObject({ outcome: 'too_many_holds' });
    await holder.release('a');
    expect(await holder.hold('d', 1)).toMatchObject({ outcome: 'too_many_holds' });
    await holder.release('b');
    expect(await holder.hold('d', 1)).toMatchObject({ outcome: 'held' });
    const forecasts = times(3, (n) => holder.request(`f-${n}`, 1, { feature: 'forecast_revenue' }));
    expect(tally(await holdTokens(database.api, forecasts))).toEqual({ held: 2, too_many_holds: 1 });
    await operator.cap(organizationId, {});
    expect(await holder.hold('e', 1)).toMatchObject({ outcome: 'held' });
  });
});

describe('the cap on unended jobs', () => {
  it('S9, R1: admits exactly as many of 20 parallel jobs of a token type; one that ends makes room', async () => {
    await database.superuser.query(
      `update ai_tokens set balance = 1000 where organization_id = $1 and token_type = 'goal_generation'`,
      [organizationId],
    );
    await operator.cap(organizationId, { jobs: 3 });
    const admissions = await Promise.all(times(20, (n) => admit(`job-${n}`)));
    expect(tally(admissions)).toEqual({ admitted: 3, too_many_jobs: 17 });
    const [one, two] = times(20, (n) => `job-${n}`).filter((_, n) => admissions[n]!.outcome === 'admitted');
    await withdrawJob(database.api, organizationId, one!, 'cancelled');
    expect(await admit('next')).toMatchObject({ outcome: 'admitted' });
    await beginJob(database.worker, organizationId, two!);
    // Of any type: the cap is the organization's.
    expect(await admit('over', 'forecast_revenue')).toMatchObject({ outcome: 'too_many_jobs' });
    await storeResult(database.worker, organizationId, two!, {}, {});
    await commitJob(database.worker, organizationId, two!);
    expect(await admit('after', 'forecast_revenue')).toMatchObject({ outcome: 'admitted' });
  });

  it('R4: leaves the key of a refused job free, and replays one that was admitted', async () => {
    await operator.cap(organizationId, { jobs: 1 });
    await admit('first');
    expect(await admit('second')).toMatchObject({ outcome: 'too_many_jobs' });
    expect(await admit('first')).toMatchObject({ outcome: 'admitted', isRepeat: true });
    await withdrawJob(database.api, organizationId, 'first', 'cancelled');
    expect(await admit('second')).toMatchObject({ outcome: 'admitted', isRepeat: false });
  });

  it('reads unended jobs only, however many have ended, also before the first analyze', async () => {
    await admit('job');
    const client = await database.superuser.connect();
    try {
      await client.query('begin; set local enable_seqscan = off; set local plan_cache_mode = force_generic_plan');
      const { rows } = await client.query(
        `explain select from tollgate.jobs j where j.organization_id || '/' = '${organizationId}' || '/' and j.ended_at is null limit 1000`,
      );
      expect(rows.map((row) => row['QUERY PLAN']).join('\n')).toContain('jobs_unended_of_organization_idx');
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

describe('setting caps', () => {
  const act = (change: object = {}) => ({
    actor: operator.principal,
    organizationId,
    reason: 'a large customer',
    requestId: 'req-1',
    ...change,
  });
  const set = (change: object, mostOpenHolds: number | null = 5, mostOpenJobs: number | null = null) =>
    setCaps(database.api, act(change), { mostOpenHolds, mostOpenJobs });

  it('answers those in force, and is written to the audit log with what was before', async () => {
    expect(await set({}, 50_000)).toEqual({ outcome: 'set', mostOpenHolds: 50_000, mostOpenJobs: 1_000 });
    expect(await set({}, null, 7)).toEqual({ outcome: 'set', mostOpenHolds: 10_000, mostOpenJobs: 7 });
    const row = {
      ...{ actor: operator.principal, act: 'setCaps', subject: organizationId },
      ...{ reason: 'a large customer', requestId: 'req-1' },
    };
    expect(await auditOf(database, organizationId)).toEqual([
      { ...row, changes: { mostOpenHolds: { from: null, to: 50_000 }, mostOpenJobs: { from: null, to: null } } },
      { ...row, changes: { mostOpenHolds: { from: 50_000, to: null }, mostOpenJobs: { from: null, to: 7 } } },
    ]);
  });

  it('leaves the other rules of the organization as they are', async () => {
    await database.superuser.query(`select tollgate.set_capture_rule($1, 'cap')`, [organizationId]);
    await set({});
    await holder.hold('h', 3);
    expect(await holder.capture('h', 10)).toMatchObject({ outcome: 'captured', captured: 3 });
  });

  it('is an operator’s', async () => {
    for (const actor of [organization.principal, 'operator:nobody'])
      expect(await set({ actor })).toMatchObject({ outcome: 'not_an_operator' });
    expect(await set({ organizationId: 'none' })).toMatchObject({ outcome: 'organization_unknown' });
    expect(await auditOf(database, organizationId)).toEqual([]);
  });
});
