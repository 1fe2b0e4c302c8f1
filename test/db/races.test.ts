import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { captureHolds, holdTokens } from '../../db/holds.ts';
import { admitJob, beginJob, commitJob, findJob, refundJob, storeResult, withdrawJob } from '../../db/jobs.ts';
import { admissionOf } from '../support/admission.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { grantsOf } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

/** Each test runs over the pool's real connections, 20 of them, warmed up so that all calls are in flight together. */
let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await Promise.all(
    [database.api, database.worker].flatMap((pool) => times(20, () => pool.query('select pg_sleep(0.01)'))),
  );
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

function times<T>(count: number, make: (n: number) => T): T[] {
  return Array.from({ length: count }, (_, n) => make(n));
}
const newOrganization = () => createOrganization(database.superuser, 'pro');
const leads = ({ organizationId }: TestOrganization) =>
  balanceOf(database.superuser, organizationId, 'lead_generation');
function tally(outcomes: readonly { outcome: string }[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { outcome } of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1;
  return counts;
}

describe('holds', () => {
  it('R1: of 60 parallel holds on the last tokens exactly floor(balance / cost) are admitted', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    const placements = await Promise.all(times(60, (n) => holder.hold(`h-${n}`, 3)));
    expect(tally(placements)).toEqual({ held: 16, tokens_insufficient: 44 });
    expect(await leads(organization)).toEqual({ available: 2, held: 48, owed: 0 });
  });

  it('R1: what 20 parallel captures, releases and holds leave is what they say', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    for (const n of times(20, (n) => n)) await holder.hold(`h-${n}`, 2);
    const [endings, placements] = await Promise.all([
      Promise.all(times(20, (n) => (n % 2 ? holder.capture(`h-${n}`, 1) : holder.release(`h-${n}`)))),
      Promise.all(times(20, (n) => holder.hold(`more-${n}`, 1))),
    ]);
    expect(tally(endings)).toEqual({ captured: 10, released: 10 });
    const held = placements.filter(({ outcome }) => outcome === 'held').length;
    expect(held).toBeGreaterThanOrEqual(10);
    expect(await leads(organization)).toEqual({ available: 40 - held, held, owed: 0 });
  });

  it('R3: the balance that 20 first callers find missing is created once, with one allowance', async () => {
    const organization = await organizationFromBefore();
    const holder = holderOf(database.api, organization);
    const placements = await Promise.all(times(20, (n) => holder.hold(`h-${n}`, 3)));
    expect(tally(placements)).toEqual({ held: 16, tokens_insufficient: 4 });
    expect(await grantsOf(database.superuser, organization.organizationId)).toMatchObject([
      { source: 'allowance', amount: 50, remaining: 2 },
    ]);
  });

  it('R4: 20 parallel repeats of one hold are one hold and 20 answers', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    const placements = await Promise.all(times(20, () => holder.hold('one', 7)));
    expect(tally(placements)).toEqual({ held: 20 });
    expect(placements.filter(({ isRepeat }) => !isRepeat)).toHaveLength(1);
    expect(new Set(placements.map(({ expiresAt }) => expiresAt!.getTime())).size).toBe(1);
    expect(await leads(organization)).toEqual({ available: 43, held: 7, owed: 0 });
  });

  it('one hold id that races over two token types is placed once; the loser is told that the id is taken', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    for (const round of times(10, (n) => n)) {
      const placements = await Promise.all(
        times(6, (n) => holder.hold(`h-${round}`, 1, { feature: n % 2 ? 'generate_goal' : 'generate_leads' })),
      );
      const kept = placements.find(({ outcome, isRepeat }) => outcome === 'held' && !isRepeat)!;
      expect(placements.map(({ outcome, tokenType }) => [outcome, tokenType])).toEqual(
        placements.map(({ tokenType }) => [tokenType === kept.tokenType ? 'held' : 'id_reused', tokenType]),
      );
    }
  });

  it('R6, R7: capture, release and lapse race on one hold: one ends it, the others are told how it ended', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    let used = 0;
    for (const round of times(12, (n) => n)) {
      const id = `h-${round}`;
      await holder.hold(id, 1);
      const isDue = round % 3 === 0;
      if (isDue) await elapse(database.superuser, organization.organizationId, '2 minutes');
      const endings = await Promise.all(times(8, (n) => (n % 2 ? holder.capture(id) : holder.release(id))));
      const { rows } = await database.superuser.query(
        'select h.state, h.captured from tollgate.holds h where h.organization_id = $1 and h.id = $2',
        [organization.organizationId, id],
      );
      const { state, captured } = rows[0];
      if (isDue) expect(state).toBe('lapsed');
      used += captured;
      const expected = (verb: 'capture' | 'release') => {
        if (verb === 'capture') return state === 'captured' ? 'captured' : `hold_${state}`;
        return state === 'captured' ? 'hold_captured' : state;
      };
      expect(endings.map(({ outcome }) => outcome)).toEqual(times(8, (n) => expected(n % 2 ? 'capture' : 'release')));
      expect(endings.filter(({ outcome, isRepeat }) => !outcome.startsWith('hold_') && !isRepeat)).toHaveLength(
        isDue ? 0 : 1,
      );
    }
    expect(await leads(organization)).toEqual({ available: 50 - used, held: 0, owed: 0 });
  });

  it('C10: batches that name the same balances in opposite orders never deadlock', async () => {
    const organizations = await Promise.all(times(4, () => createOrganization(database.superuser, 'enterprise')));
    const features = ['generate_leads', 'analyze_strategy', 'generate_insight'];
    const targets = organizations.flatMap((organization) => features.map((feature) => ({ organization, feature })));
    // Straight to SQL: the calls of db/ would repeat a deadlocked batch and hide it.
    const batch = async (name: string, order: typeof targets) => {
      const ids = order.map((_, n) => `${name}-${n}`);
      const who = [order.map((t) => t.organization.principal), order.map((t) => t.organization.organizationId), ids];
      const held = await database.api.query('select h.outcome from tollgate.hold_tokens($1, $2, $3, $4, $5, $6) h', [
        ...who,
        order.map((t) => t.feature),
        order.map(() => 1),
        order.map(() => '1 minute'),
      ]);
      const ended = await database.api.query(
        'select h.outcome from tollgate.capture_holds($1, $2, $3, $4, null, null) h',
        [...who.map((column) => column.toReversed()), order.map(() => null)],
      );
      return [...held.rows, ...ended.rows];
    };
    const rows = await Promise.all(times(60, (n) => batch(`b-${n}`, n % 2 ? targets : targets.toReversed())));
    expect(tally(rows.flat())).toEqual({ held: 60 * 12, captured: 60 * 12 });
  });

  it('I9: batches of several organizations in parallel keep them apart', async () => {
    const organizations = await Promise.all(times(5, () => newOrganization()));
    await Promise.all(
      times(20, (n) =>
        holdTokens(
          database.api,
          organizations.map((organization) => holderOf(database.api, organization).request(`h-${n}`, 3)),
        ),
      ),
    );
    for (const organization of organizations)
      expect(await leads(organization)).toEqual({ available: 2, held: 48, owed: 0 });
    await Promise.all(
      times(20, (n) =>
        captureHolds(
          database.api,
          organizations.map((organization) => ({ ...organization, holdId: `h-${n}`, amount: 1 })),
        ),
      ),
    );
    for (const organization of organizations)
      expect(await leads(organization)).toEqual({ available: 34, held: 0, owed: 0 });
  });
});

describe('jobs', () => {
  it('R4: 100 parallel requests with one key and body are one job and 100 equal answers', async () => {
    const organization = await newOrganization();
    const admissions = await Promise.all(
      times(100, (n) => admitJob(database.api, admissionOf(organization, `job-${n}`, { idempotencyKey: 'k' }))),
    );
    expect(tally(admissions)).toEqual({ admitted: 100 });
    const answers = admissions.map((admission) =>
      admission.outcome === 'admitted' ? JSON.stringify(admission.answer) : '',
    );
    expect(new Set(answers).size).toBe(1);
    expect(admissions.filter((admission) => admission.outcome === 'admitted' && !admission.isRepeat)).toHaveLength(1);
    expect(await leads(organization)).toEqual({ available: 45, held: 5, owed: 0 });
  });

  it('R5: of 20 parallel requests with one key and different bodies one wins; the same key elsewhere is independent', async () => {
    const [organization, other] = [await newOrganization(), await newOrganization()];
    const [admissions, elsewhere] = await Promise.all([
      Promise.all(
        times(20, (n) =>
          admitJob(database.api, admissionOf(organization, `job-${n}`, { idempotencyKey: 'k', input: { n } })),
        ),
      ),
      admitJob(database.api, admissionOf(other, 'job-0', { idempotencyKey: 'k' })),
    ]);
    expect(tally(admissions)).toEqual({ admitted: 1, key_reused: 19 });
    expect(elsewhere.outcome).toBe('admitted');
    expect(await leads(organization)).toEqual({ available: 45, held: 5, owed: 0 });
  });

  it('R4: one key whose request is refused until a top-up admits once', async () => {
    const organization = await newOrganization();
    await holderOf(database.api, organization).hold('most', 48);
    const admit = () => admitJob(database.api, admissionOf(organization, 'job-1'));
    const [first] = await Promise.all([
      Promise.all(times(19, admit)),
      database.superuser.query(
        `update ai_tokens set balance = balance + 5 where organization_id = $1 and token_type = 'lead_generation'`,
        [organization.organizationId],
      ),
    ]);
    const { admitted = 0, tokens_insufficient: refused = 0 } = tally(first);
    expect(admitted + refused).toBe(19);
    expect(await admit()).toMatchObject({ outcome: 'admitted', isRepeat: admitted > 0 });
    expect(await leads(organization)).toEqual({ available: 2, held: 53, owed: 0 });
  });

  it('C16: begin and withdraw race: one wins, and both callers are told which', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    for (const round of times(10, (n) => n)) {
      const jobId = `job-${round}`;
      await admitJob(database.api, admissionOf(organization, jobId));
      const [beginnings, withdrawals] = await Promise.all([
        Promise.all(times(4, () => beginJob(database.worker, organizationId, jobId))),
        Promise.all(times(4, () => withdrawJob(database.api, organizationId, jobId, 'start_failed'))),
      ]);
      const { state } = (await findJob(database.api, organizationId, jobId))!;
      expect(['running', 'withdrawn']).toContain(state);
      expect(tally(beginnings)).toEqual(state === 'running' ? { held: 4 } : { refused: 4 });
      expect(tally(withdrawals)).toEqual(state === 'running' ? { job_running: 4 } : { withdrawn: 4 });
      await refundJob(database.worker, organizationId, jobId, 'cancelled');
    }
    expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
  });

  it('R9: a result, a commit and a refund race: delivered is charged once, refunded drops the result', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    let charged = 0;
    for (const round of times(10, (n) => n)) {
      const jobId = `job-${round}`;
      await admitJob(database.api, admissionOf(organization, jobId, { feature: 'generate_leads' }));
      await beginJob(database.worker, organizationId, jobId);
      await Promise.all([
        ...times(3, () => storeResult(database.worker, organizationId, jobId, { round }, {})),
        ...times(3, () => commitJob(database.worker, organizationId, jobId)),
        ...times(3, () => refundJob(database.worker, organizationId, jobId, 'cancelled')),
      ]);
      await commitJob(database.worker, organizationId, jobId);
      const { state, result } = (await findJob(database.api, organizationId, jobId))!;
      expect([state, result]).toEqual(state === 'charged' ? ['charged', { round }] : ['refunded', null]);
      if (state === 'charged') charged += 1;
    }
    expect(await leads(organization)).toEqual({ available: 50 - 5 * charged, held: 0, owed: 0 });
  });

  it('C17: 10 parallel commits of a job whose hold has lapsed charge it once', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    await admitJob(database.api, admissionOf(organization, 'job-1'));
    await beginJob(database.worker, organizationId, 'job-1');
    await storeResult(database.worker, organizationId, 'job-1', {}, {});
    await elapse(database.superuser, organizationId, '2 days');
    await holderOf(database.api, organization).hold('most', 47);
    const commitments = await Promise.all(times(10, () => commitJob(database.worker, organizationId, 'job-1')));
    expect(commitments.map(({ outcome, debt }) => [outcome, debt])).toEqual(times(10, () => ['charged', 2]));
    expect(await leads(organization)).toEqual({ available: 0, held: 47, owed: 2 });
  });
});

describe('time', () => {
  it.each([1, 2])('a call of %i that waited for its balance decides with the time at which it got it', async (rows) => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    const { expiresAt } = await holderOf(database.api, organization).hold('h', 5, { lifetimeMs: 1_500 });
    const client = await database.superuser.connect();
    await client.query('begin');
    await client.query('select from tollgate.balances where organization_id = $1 for update', [organizationId]);
    const captures = times(rows, (n) => ({ ...organization, holdId: n === 0 ? 'h' : 'other', amount: null }));
    const waiting = captureHolds(database.api, captures);
    await until(async () => {
      const { rowCount } = await database.superuser.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
      );
      return rowCount === 1;
    });
    await until(async () => {
      const { rows } = await database.superuser.query('select clock_timestamp() > $1 as is_over', [expiresAt]);
      return rows[0].is_over;
    });
    await client.query('commit');
    client.release();
    expect((await waiting)[0]).toMatchObject({ outcome: 'hold_lapsed' });
  });

  it('T4: a boundary that 20 callers and a reader of the view see at once is crossed once', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    await holder.hold('old', 10, { lifetimeMs: 3_600_000 });
    await elapse(database.superuser, organization.organizationId, '32 days');
    const [placements] = await Promise.all([
      Promise.all(times(20, (n) => holder.hold(`h-${n}`, 3))),
      Promise.all(
        times(5, () =>
          database.superuser.query('select * from ai_tokens where organization_id = $1', [organization.organizationId]),
        ),
      ),
    ]);
    expect(tally(placements)).toEqual({ held: 16, tokens_insufficient: 4 });
    expect(await grantsOf(database.superuser, organization.organizationId)).toMatchObject([
      { source: 'allowance', amount: 50, remaining: 0, expired: 50 },
      { source: 'allowance', amount: 50, remaining: 2, expired: 0 },
    ]);
  });

  it('T6, R12: plan changes to and fro race with holds and edits: nothing is minted, nothing deadlocks', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    await Promise.all([
      ...times(8, (n) =>
        database.superuser.query('update organizations set plan = $2 where id = $1', [
          organization.organizationId,
          n % 2 ? 'enterprise' : 'pro',
        ]),
      ),
      ...times(8, (n) => holder.hold(`h-${n}`, 5)),
      ...times(8, () =>
        database.superuser.query(
          `update ai_tokens set balance = balance + 1 where organization_id = $1 and token_type = 'lead_generation'`,
          [organization.organizationId],
        ),
      ),
    ]);
    const grants = await grantsOf(database.superuser, organization.organizationId);
    const ofPlan = grants.filter(({ source }) => source === 'allowance' || source === 'upgrade');
    expect(ofPlan.reduce((sum, { amount }) => sum + amount, 0)).toBe(500);
    expect(await leads(organization)).toEqual({ available: 500 + 8 - 40, held: 40, owed: 0 });
  });
});

/** An organization as an app had it before Tollgate came: no calendar, no balances. With a member, who needs no key. */
async function organizationFromBefore(): Promise<TestOrganization> {
  const organizationId = 'from-before';
  const client = await database.superuser.connect();
  try {
    await client.query("set session_replication_role = 'replica'");
    await client.query(`insert into organizations (id, name, plan) values ($1, 'From before', 'pro')`, [
      organizationId,
    ]);
    await client.query(`insert into user_profiles (id, organization_id) values ('veteran', $1)`, [organizationId]);
    await client.query('reset session_replication_role');
  } finally {
    client.release();
  }
  return { organizationId, principal: 'user:veteran', secret: '' };
}
