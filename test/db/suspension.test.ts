import { createHash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { growHolds, holdTokens } from '../../db/holds.ts';
import { admitJob, beginJob, commitJob, findJob, storeResult } from '../../db/jobs.ts';
import { revokeOperator } from '../../db/operators.ts';
import { quoteHolds } from '../../db/quotes.ts';
import { resumeOrganization, suspendOrganization } from '../../db/suspensions.ts';
import { checkTokens, deductTokens } from '../../db/tokens.ts';
import { admissionOf } from '../support/admission.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { auditOf, newOperator, type TestOperator } from '../support/operator.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

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
afterEach(() => expectInvariants(database.superuser));
afterAll(() => database.drop());

const SUSPENDED = expect.objectContaining({ outcome: 'organization_suspended' });
const leads = () => balanceOf(database.superuser, organizationId, 'lead_generation');
const check = (principal = organization.principal, feature = 'generate_leads') => ({
  organizationId,
  principal,
  feature,
});
const deduct = (holdId: string, key: string | null = null) =>
  deductTokens(database.api, {
    organizationId,
    principal: organization.principal,
    holdId,
    feature: 'generate_leads',
    metadata: {},
    idempotency: key === null ? null : { key, requestHash: createHash('sha256').update('deduct').digest() },
  });

describe('a suspended organization', () => {
  it('S9: is admitted nothing new, at any door, and nothing of it moves', async () => {
    await database.superuser.query('insert into user_profiles (id, organization_id) values ($1, $2)', [
      `member-of-${organizationId}`,
      organizationId,
    ]);
    await holder.hold('open', 5);
    await operator.suspend(organizationId);
    const before = await leads();
    const another = await createOrganization(database.superuser, 'pro');
    const theirs = holderOf(database.api, another);

    expect(await holder.hold('alone', 1)).toEqual(SUSPENDED);
    expect(await holder.hold('of another type', 1, { feature: 'forecast_revenue' })).toEqual(SUSPENDED);
    expect(await holder.hold('of none', 1, { feature: 'no_such_feature' as never })).toEqual(SUSPENDED);
    const batch = [holder.request('x', 1), theirs.request('y', 1), holder.request('z', 1)];
    expect(await holdTokens(database.api, batch)).toEqual([
      SUSPENDED,
      expect.objectContaining({ outcome: 'held' }),
      SUSPENDED,
    ]);
    expect(await holder.grow('open', 'more', 1)).toEqual(SUSPENDED);
    expect(await admitJob(database.api, admissionOf(organization, 'job'))).toEqual(SUSPENDED);
    expect(await deduct('deduction')).toEqual(SUSPENDED);
    expect(await deduct('deduction', 'key')).toEqual(SUSPENDED);
    for (const who of [check(), check(`user:member-of-${organizationId}`), check(undefined, 'no_such_feature')]) {
      expect(await checkTokens(database.api, [who])).toEqual([SUSPENDED]);
      expect(await checkTokens(database.api, [{ ...check(another.principal), organizationId: 'none' }, who])).toEqual([
        expect.objectContaining({ outcome: 'not_a_member' }),
        SUSPENDED,
      ]);
    }
    expect(await quoteHolds(database.api, organization, [{ feature: 'generate_leads', amount: 1 }])).toEqual([
      SUSPENDED,
    ]);
    expect(await leads()).toEqual(before);
  });

  it('is told apart from a stranger first', async () => {
    await operator.suspend(organizationId);
    const stranger = holderOf(database.api, { ...organization, principal: 'user:nobody' });
    expect(await stranger.hold('h', 1)).toMatchObject({ outcome: 'not_a_member' });
  });

  it('R4: gets the recorded answer to what was admitted before', async () => {
    const first = {
      hold: await holder.hold('h', 5),
      growth: await holder.grow('h', 'more', 1),
      job: await admitJob(database.api, admissionOf(organization, 'job')),
      keyed: await deduct('keyed', 'key'),
      plain: await deduct('plain'),
    };
    await operator.suspend(organizationId);
    const repeat = { isRepeat: true };
    expect(await holder.hold('h', 5)).toMatchObject({ ...repeat, outcome: 'held', expiresAt: first.hold.expiresAt });
    expect(await holder.hold('h', 6)).toMatchObject({ outcome: 'id_reused' });
    expect(await holder.grow('h', 'more', 1)).toEqual({ ...first.growth, ...repeat });
    expect(await admitJob(database.api, admissionOf(organization, 'again', { idempotencyKey: 'key-job' }))).toEqual({
      ...first.job,
      ...repeat,
    });
    expect(await deduct('another', 'key')).toEqual({ ...first.keyed, ...repeat });
    expect(await deduct('plain')).toMatchObject({ outcome: 'deducted', ...repeat });
  });

  it('ends what is open as it likes: captures, releases, extensions, refunds', async () => {
    for (const id of ['captured', 'parts', 'released', 'extended', 'lapsed']) await holder.hold(id, 5);
    await operator.suspend(organizationId);
    expect(await holder.capture('captured')).toMatchObject({ outcome: 'captured', captured: 5 });
    expect(await holder.capture('parts', 2, { key: 'a', isLast: false })).toMatchObject({ outcome: 'captured' });
    expect(await holder.release('released')).toMatchObject({ outcome: 'released' });
    expect(await holder.extend('extended', 3_600_000)).toMatchObject({ outcome: 'extended' });
    expect(await holder.refund('captured.1', 5)).toMatchObject({ outcome: 'refunded' });
    await elapse(database.superuser, organizationId, '61 seconds');
    expect(await holder.release('lapsed')).toMatchObject({ outcome: 'lapsed' });
    expect(await leads()).toEqual({ available: 43, held: 5, owed: 0 });
  });

  it('S9: draws nothing beyond what it holds, whatever its own rule says: a capture above is refused, and one within is not', async () => {
    await database.superuser.query(`select tollgate.set_capture_rule($1, 'draw')`, [organizationId]);
    await holder.hold('first', 5);
    await holder.hold('open', 5);
    const drawn = await holder.capture('first', 7);
    expect(drawn).toMatchObject({ outcome: 'captured', captured: 7 });
    await operator.suspend(organizationId);
    expect(await holder.capture('first', 7)).toMatchObject({ outcome: 'captured', captured: 7, isRepeat: true });
    expect(await holder.capture('open', 6)).toMatchObject({ outcome: 'amount_above_hold' });
    expect(await holder.capture('open', 6, { key: 'a', isLast: false })).toMatchObject({
      outcome: 'amount_above_hold',
    });
    expect(await holder.capture('open', 5)).toMatchObject({ outcome: 'captured', captured: 5 });
    expect(await leads()).toEqual({ available: 38, held: 0, owed: 0 });
  });

  it('keeps its months: the allowance of the next one is there when it is served again', async () => {
    await holder.hold('spent', 50);
    await holder.capture('spent');
    await operator.suspend(organizationId);
    await elapse(database.superuser, organizationId, '40 days');
    expect(await holder.hold('no', 1)).toEqual(SUSPENDED);
    expect(await leads()).toMatchObject({ available: 50 });
    await operator.resume(organizationId);
    expect(await holder.hold('yes', 50)).toMatchObject({ outcome: 'held' });
  });

  it('runs jobs that were admitted to their end, and takes no hold of theirs anew', async () => {
    for (const id of ['in time', 'late', 'delivered'])
      await admitJob(database.api, admissionOf(organization, id.replace(' ', '-')));
    const run = async (id: string) => {
      await storeResult(database.worker, organizationId, id, {}, {});
      return commitJob(database.worker, organizationId, id);
    };
    await beginJob(database.worker, organizationId, 'delivered');
    await operator.suspend(organizationId);
    expect(await beginJob(database.worker, organizationId, 'in-time')).toMatchObject({ outcome: 'held' });
    expect(await run('in-time')).toMatchObject({ outcome: 'charged', debt: 0 });
    await elapse(database.superuser, organizationId, '2 days');
    expect(await beginJob(database.worker, organizationId, 'late')).toMatchObject({
      outcome: 'refused',
      code: 'organization_suspended',
    });
    // Its hold has lapsed too, and its work is there: it is charged from the balance all the same.
    expect(await run('delivered')).toMatchObject({ outcome: 'charged', debt: 0 });
    expect(await findJob(database.api, organizationId, 'late')).toMatchObject({ state: 'refused' });
    expect(await leads()).toEqual({ available: 40, held: 0, owed: 0 });
  });

  it('is suspended in a balance that is made later too', async () => {
    await operator.suspend(organizationId);
    const client = await database.superuser.connect();
    await client.query("begin; set local session_replication_role = 'replica'");
    for (const table of ['grants', 'ledger_blocks', 'balances'])
      await client.query(`delete from tollgate.${table} where organization_id = $1 and token_type = 'forecast'`, [
        organizationId,
      ]);
    await client.query('commit');
    client.release();
    expect(await checkTokens(database.api, [check(undefined, 'forecast_revenue')])).toEqual([SUSPENDED]);
    expect(await holder.hold('h', 1, { feature: 'forecast_revenue' })).toEqual(SUSPENDED);
    expect(await balanceOf(database.superuser, organizationId, 'forecast')).toMatchObject({ available: 30 });
  });

  it('R1: of 100 holds in flight none is placed after the suspension, and none that begins after it is answered otherwise', async () => {
    const outcomes: string[] = [];
    const during = Array.from({ length: 50 }, (_, n) =>
      holder.hold(`during-${n}`, 1).then(({ outcome }) => void outcomes.push(outcome)),
    );
    // Among the others, over a connection that does not wait for theirs.
    await Promise.race(during);
    const { outcome } = await suspendOrganization(database.superuser, {
      actor: operator.principal,
      ...{ organizationId, reason: 'a test', requestId: 'test' },
    });
    expect(outcome).toBe('suspended');
    const after = await Promise.all(Array.from({ length: 50 }, (_, n) => holder.hold(`after-${n}`, 1)));
    await Promise.all(during);
    expect(new Set(after.map(({ outcome }) => outcome))).toEqual(new Set(['organization_suspended']));
    expect(outcomes.filter((outcome) => !['held', 'organization_suspended'].includes(outcome))).toEqual([]);
    const { rows } = await database.superuser.query(
      `select count(*) as placed, count(*) filter (where h.created_at > s.since) as late
         from tollgate.holds h join tollgate.suspensions s using (organization_id) where h.organization_id = $1`,
      [organizationId],
    );
    expect(rows).toEqual([{ placed: outcomes.filter((outcome) => outcome === 'held').length, late: 0 }]);
  });
});

describe('a suspension', () => {
  it('R1: waits for a hold that is being placed, and begins after it', async () => {
    const client = await database.superuser.connect();
    try {
      await client.query('begin');
      await client.query('select tollgate.lock_balances($1, $2)', [[organizationId], ['lead_generation']]);
      const suspending = operator.suspend(organizationId);
      await until(
        async () =>
          (
            await database.superuser.query(
              `select from pg_stat_activity a
                where a.datname = current_database() and a.wait_event_type = 'Lock' and a.query like '%suspend_organization%'`,
            )
          ).rowCount === 1,
      );
      const request = holder.request('h', 1);
      const { rows } = await client.query(
        `select outcome from tollgate.hold_tokens($1, $2, $3, $4, $5, array[interval '1 minute'])`,
        [[request.principal], [organizationId], ['h'], ['generate_leads'], [1]],
      );
      expect(rows).toEqual([{ outcome: 'held' }]);
      await client.query('commit');
      await suspending;
    } finally {
      client.release();
    }
    const { rows } = await database.superuser.query(
      `select h.created_at < s.since as "isBefore"
         from tollgate.holds h join tollgate.suspensions s using (organization_id) where h.organization_id = $1`,
      [organizationId],
    );
    expect(rows).toEqual([{ isBefore: true }]);
    expect(await holder.hold('late', 1)).toEqual(SUSPENDED);
  });
});

describe('suspending', () => {
  const act = (change: object = {}) => ({
    actor: operator.principal,
    organizationId,
    reason: 'chargebacks',
    requestId: 'req-1',
    ...change,
  });

  it('is written to the audit log with its reason, and told in the outbox; a repeat keeps the first instant', async () => {
    const first = await suspendOrganization(database.api, act());
    const again = await suspendOrganization(database.api, act({ reason: 'again' }));
    expect(again).toEqual(first);
    expect(await resumeOrganization(database.api, act({ reason: 'paid' }))).toEqual({ outcome: 'resumed' });
    expect(await resumeOrganization(database.api, act({ reason: 'paid' }))).toEqual({ outcome: 'resumed' });
    const row = { actor: operator.principal, subject: organizationId, requestId: 'req-1' };
    const change = (from: unknown, to: unknown) => ({ suspendedSince: { from, to } });
    const suspended = { ...row, act: 'suspendOrganization' };
    const resumed = { ...row, act: 'resumeOrganization', reason: 'paid' };
    expect(await auditOf(database, organizationId)).toEqual([
      { ...suspended, reason: 'chargebacks', changes: change(null, expect.any(String)) },
      { ...suspended, reason: 'again', changes: {} },
      { ...resumed, changes: change(expect.any(String), null) },
      { ...resumed, changes: {} },
    ]);
    const { rows } = await database.superuser.query(
      `select kind from tollgate.outbox where organization_id = $1 and kind like 'organization%' order by id`,
      [organizationId],
    );
    expect(rows.map(({ kind }) => kind)).toEqual(['organization_suspended', 'organization_resumed']);
    expect(await holder.hold('h', 1)).toMatchObject({ outcome: 'held' });
  });

  it('ends as the last of many that suspend and resume at once says, in every balance', async () => {
    await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        n % 2 ? operator.suspend(organizationId) : operator.resume(organizationId),
      ),
    );
    // The invariants say that every balance agrees.
    await expectInvariants(database.superuser);
    await operator.suspend(organizationId);
    expect(await holder.hold('h', 1)).toEqual(SUSPENDED);
  });

  it('is an operator’s: refused to members, keys, strangers and operators whose credential was revoked, with nothing written', async () => {
    const revoked = await newOperator(database);
    await revokeOperator(database.superuser, revoked.principal.replace('operator:', ''));
    for (const actor of [organization.principal, 'user:nobody', 'operator:nobody', 'operator:', revoked.principal]) {
      expect(await suspendOrganization(database.api, act({ actor }))).toMatchObject({ outcome: 'not_an_operator' });
      expect(await resumeOrganization(database.api, act({ actor }))).toEqual({ outcome: 'not_an_operator' });
    }
    expect(await suspendOrganization(database.api, act({ organizationId: 'none' }))).toMatchObject({
      outcome: 'organization_unknown',
    });
    expect(await resumeOrganization(database.api, act({ organizationId: 'none' }))).toEqual({
      outcome: 'organization_unknown',
    });
    expect(await auditOf(database, organizationId)).toEqual([]);
    expect(await holder.hold('h', 1)).toMatchObject({ outcome: 'held' });
  });

  it('a growth in an array is refused in its own row alone', async () => {
    const another = await createOrganization(database.superuser, 'pro');
    await holder.hold('h', 1);
    await holderOf(database.api, another).hold('h', 1);
    await operator.suspend(organizationId);
    const growths = [organization, another].map((of) => ({ ...of, holdId: 'h', key: 'k', amount: 1 }));
    expect(await growHolds(database.api, growths)).toEqual([SUSPENDED, expect.objectContaining({ outcome: 'grown' })]);
  });
});
