import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { job as jobSchema } from '../../contract/jobs.ts';
import { beginJob, commitJob, refundJob, storeResult } from '../../db/jobs.ts';
import { createOperator } from '../../db/operators.ts';
import { applyRetention, type Retention, setRetention } from '../../db/retention.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';
import { asOwner } from '../support/asOwner.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { admitTestJob } from '../support/jobWorker.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;

beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.auditor);
  await api.close();
  await database.drop();
});

const FOR_EVER: Retention = { promptDays: null, resultDays: null, idempotencyDays: 90 };

const keep = (retention: Partial<Retention>, { organizationId, principal } = organization) =>
  setRetention(database.api, {
    organizationId,
    actor: principal,
    retention: { ...FOR_EVER, ...retention },
    reason: null,
    requestId: 'test',
  });

/** Pages until the last one, as the worker does. */
async function applyAll(limit = 100) {
  const sum = { pages: 0, inputs: 0, results: 0, records: 0 };
  let after: string | null = null;
  for (;;) {
    const page = await applyRetention(database.worker, { after, limit });
    sum.pages += 1;
    for (const figure of ['inputs', 'results', 'records'] as const) sum[figure] += page[figure];
    if (page.isLast) return sum;
    after = page.next;
  }
}

async function runningJob() {
  const jobId = await admitTestJob(database.api, organization);
  await beginJob(database.worker, organization.organizationId, jobId);
  return jobId;
}

async function deliveredJob() {
  const jobId = await runningJob();
  await storeResult(
    database.worker,
    organization.organizationId,
    jobId,
    { title: 'SECRET ANSWER' },
    { totalTokens: 9 },
  );
  return jobId;
}

async function chargedJob() {
  const jobId = await deliveredJob();
  await commitJob(database.worker, organization.organizationId, jobId);
  return jobId;
}

const stored = async (jobId: string) =>
  (await database.superuser.query('select * from tollgate.jobs where id = $1', [jobId])).rows[0];

const read = async (jobId: string) => {
  const reply = await api.call(`/api/v1/jobs/${jobId}`, { key: organization.secret });
  expect(reply.status).toBe(200);
  return jobSchema.parse(reply.body);
};

const pass = (duration: string) => elapse(database.superuser, organization.organizationId, duration);

describe('what is over', () => {
  test('is erased from the job, and nothing else of it changes: state, charge, ledger', async () => {
    const jobId = await chargedJob();
    await keep({ promptDays: 7, resultDays: 30 });
    await pass('8 days');
    const before = { job: await read(jobId), row: await stored(jobId), ledger: await ledgerOf() };
    expect(await applyAll()).toMatchObject({ inputs: 1, results: 0, records: 0 });
    const first = await read(jobId);
    expect(first).toEqual({ ...before.job, inputErasedAt: expect.any(String) });
    expect(first.result).toEqual({ title: 'SECRET ANSWER' });
    expect((await stored(jobId)).input).toBeNull();

    await pass('23 days');
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 1 });
    const second = await read(jobId);
    expect(second).toMatchObject({ state: 'charged', tokens: 3, result: null, resultErasedAt: expect.any(String) });
    expect(second.usage).toEqual({ totalTokens: 9 });
    expect(JSON.stringify(await stored(jobId))).not.toMatch(/SECRET ANSWER|logistics/);
    expect((await ledgerOf()).map(({ kind, amount }) => [kind, amount])).toEqual(
      before.ledger.map(({ kind, amount }) => [kind, amount]),
    );
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0, records: 0 });
    await expectInvariants(database.auditor);
  });

  test('is what ended so many days of 24 hours ago: not a second earlier', async () => {
    const jobId = await chargedJob();
    await keep({ promptDays: 1, resultDays: 1 });
    await pass('86300 seconds');
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0 });
    await pass('101 seconds');
    expect(await applyAll()).toMatchObject({ inputs: 1, results: 1 });
    expect(await read(jobId)).toMatchObject({ state: 'charged', result: null });
  });

  test('is never of a job that has not ended, however old it is', async () => {
    const [running, delivered] = [await runningJob(), await deliveredJob()];
    await keep({ promptDays: 1, resultDays: 1, idempotencyDays: 1 });
    await pass('400 days');
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0, records: 0 });
    expect((await stored(running)).input).toEqual({ industry: 'logistics', horizonMonths: 12 });
    expect(await commitJob(database.worker, organization.organizationId, delivered)).toMatchObject({
      outcome: 'charged',
    });
    await refundJob(database.worker, organization.organizationId, running, 'operation_failed');
    // Ended just now, and their keys are old: only the keys go.
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0, records: 2 });
    await pass('2 days');
    expect(await applyAll()).toMatchObject({ inputs: 2, results: 1, records: 0 });
    expect(await read(running)).toMatchObject({
      state: 'refunded',
      inputErasedAt: expect.any(String),
      resultErasedAt: null,
    });
  });

  test('is kept for ever, but idempotency records, where nothing is set', async () => {
    const jobId = await chargedJob();
    await pass('89 days');
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0, records: 0 });
    await pass('2 days');
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0, records: 1 });
    await pass('3000 days');
    expect(await applyAll()).toMatchObject({ inputs: 0, results: 0, records: 0 });
    expect(await read(jobId)).toMatchObject({ result: { title: 'SECRET ANSWER' }, inputErasedAt: null });
  });

  test('goes in pages of any size, oldest first, each organization by its own settings', async () => {
    const lasting = organization;
    await keep({ promptDays: 365 });
    await chargedJob();
    organization = await createOrganization(database.superuser);
    await keep({ promptDays: 1, resultDays: 1, idempotencyDays: 1 });
    const jobIds = [await chargedJob(), await chargedJob(), await chargedJob()];
    for (const [age, jobId] of jobIds.entries()) {
      await database.superuser.query(
        `update tollgate.jobs set ended_at = ended_at - $2 * interval '1 minute' where id = $1`,
        [jobId, age],
      );
    }
    for (const { organizationId } of [lasting, organization])
      await elapse(database.superuser, organizationId, '2 days');

    // The oldest one is the last that was made.
    let page = await applyRetention(database.worker, { after: before(organization), limit: 1 });
    expect(page).toMatchObject({ isLast: false, inputs: 1, next: before(organization) });
    expect((await stored(jobIds[2]!)).input).toBeNull();
    expect((await stored(jobIds[0]!)).input).not.toBeNull();
    for (let pages = 0; !page.isLast; pages++) {
      page = await applyRetention(database.worker, { after: page.next, limit: 1 });
      expect(pages).toBeLessThan(100);
    }
    for (const jobId of jobIds) expect(await stored(jobId)).toMatchObject({ input: null, result: null });
    await applyAll();
    const { rows } = await database.superuser.query(
      'select count(*)::integer as kept from tollgate.jobs where organization_id = $1 and input is not null',
      [lasting.organizationId],
    );
    expect(rows).toEqual([{ kept: 1 }]);
  });

  test('two runs at once erase it once, and neither waits for a job that somebody holds', async () => {
    const [held, free] = [await chargedJob(), await chargedJob()];
    await keep({ promptDays: 1 });
    await pass('2 days');
    const client = await database.superuser.connect();
    try {
      await client.query('begin');
      await client.query('select from tollgate.jobs where id = $1 for update', [held]);
      const runs = await Promise.all([applyAll(), applyAll(), applyAll(1)]);
      expect(runs.reduce((sum, { inputs }) => sum + inputs, 0)).toBe(1);
      expect((await stored(free)).input).toBeNull();
    } finally {
      await client.query('rollback');
      client.release();
    }
    expect(await applyAll()).toMatchObject({ inputs: 1 });
  });

  test('a key whose record is gone is a new request; until then it is the first one’s', async () => {
    await keep({ idempotencyDays: 2 });
    const key = randomUUID();
    const first = await api.post(organization, undefined, key);
    await beginJob(database.worker, organization.organizationId, first.body.id);
    await refundJob(database.worker, organization.organizationId, first.body.id, 'operation_failed');
    await pass('1 day');
    await applyAll();
    expect((await api.post(organization, undefined, key)).body.id).toBe(first.body.id);
    await pass('1 day');
    await applyAll();
    const second = await api.post(organization, undefined, key);
    expect(second.status).toBe(202);
    expect(second.body.id).not.toBe(first.body.id);
  });

  test('deductions, refunds and adjustments are forgotten alike; the keys of holds stay known', async () => {
    await keep({ idempotencyDays: 1 });
    const { organizationId } = organization;
    const holder = holderOf(database.api, organization);
    const placeHold = () =>
      api.call('/api/v1/holds', {
        key: organization.secret,
        json: { feature: 'generate_leads', tokens: 4 },
        headers: { 'Idempotency-Key': 'a-hold' },
      });
    const deduct = () =>
      api.call('/api/v1/tokens/check-balance', {
        key: organization.secret,
        json: { organizationId, featureUsed: 'generate_insight', action: 'deduct' },
        headers: { 'Idempotency-Key': 'a-deduction' },
      });
    const adjust = async () =>
      (
        await asOwner(database, 'select * from tollgate.adjust_balance($1, $2, 5, $3, $4, $5)', [
          ...[organizationId, 'forecast', 'operator:ann', 'a gift', 'an-adjustment'],
        ])
      )[0];
    const placed = await placeHold();
    await holder.capture(placed.body.id);
    await holder.refund(`${placed.body.id}.1`, 1, 'a-refund');
    await deduct();
    await adjust();
    expect((await deduct()).headers.get('idempotent-replayed')).toBe('true');
    expect(await adjust()).toMatchObject({ outcome: 'adjusted', is_repeat: true });
    expect(await holder.refund(`${placed.body.id}.1`, 1, 'a-refund')).toMatchObject({ isRepeat: true });

    await pass('2 days');
    expect(await applyAll()).toMatchObject({ records: 3 });
    expect((await deduct()).headers.get('idempotent-replayed')).toBeNull();
    expect(await adjust()).toMatchObject({ outcome: 'adjusted', is_repeat: false });
    expect(await holder.refund(`${placed.body.id}.1`, 1, 'a-refund')).toMatchObject({ isRepeat: false });
    expect((await placeHold()).headers.get('idempotent-replayed')).toBe('true');
  });

  test('looks at what is over alone, not at all that is kept', async () => {
    await keep({ promptDays: 30, idempotencyDays: 30 });
    await database.superuser.query(
      `insert into tollgate.idempotency_records (organization_id, key, request_hash) select $1, 'kept-' || n, sha256('') from generate_series(1, 3000) n`,
      [organization.organizationId],
    );
    const client = await database.superuser.connect();
    try {
      await client.query('begin');
      const counted = `select seq_scan, idx_tup_fetch from pg_stat_xact_user_tables where relid = 'tollgate.idempotency_records'::regclass`;
      const first = (await client.query(counted)).rows[0];
      await client.query('select tollgate.apply_retention($1, 1)', [before(organization)]);
      const { seq_scan, idx_tup_fetch } = (await client.query(counted)).rows[0];
      expect([seq_scan - first.seq_scan, idx_tup_fetch - first.idx_tup_fetch]).toEqual([0, 0]);
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

describe('the settings', () => {
  const path = ({ organizationId } = organization) => `/api/v1/organizations/${organizationId}/retention`;
  const put = (json: unknown, key = organization.secret, headers = {}) =>
    api.call(path(), { method: 'PUT', key, json, headers });

  test('are the defaults until they are set, then what was set; every change is in the audit log, once', async () => {
    expect((await api.call(path(), { key: organization.secret })).body).toEqual(FOR_EVER);
    const wanted = { promptDays: 30, resultDays: null, idempotencyDays: 1 };
    for (const _ of [1, 2]) {
      const reply = await put(wanted);
      expect([reply.status, reply.body]).toEqual([200, wanted]);
    }
    expect((await api.call(path(), { key: organization.secret })).body).toEqual(wanted);
    const { rows } = await database.superuser.query(
      'select actor, act, reason, changes, request_id is not null as has_request from tollgate.audit_log where organization_id = $1',
      [organization.organizationId],
    );
    expect(rows).toEqual([
      {
        actor: organization.principal,
        act: 'setRetention',
        reason: null,
        changes: { before: FOR_EVER, after: wanted },
        has_request: true,
      },
    ]);
  });

  test('are an operator’s to set too, with a reason, also of an organization that is none', async () => {
    const { credential, id } = await createOperator(database.superuser, { name: 'ann' });
    const reason = { 'Tollgate-Reason': 'asked for by mail' };
    expect((await put(FOR_EVER, credential)).body.code).toBe('operator_reason_missing');
    expect((await put({ ...FOR_EVER, promptDays: 5 }, credential, reason)).status).toBe(200);
    const { rows } = await database.superuser.query(
      'select actor, reason from tollgate.audit_log where organization_id = $1',
      [organization.organizationId],
    );
    expect(rows).toEqual([{ actor: `operator:${id}`, reason: 'asked for by mail' }]);
    for (const method of ['GET', 'PUT']) {
      const reply = await api.call('/api/v1/organizations/nobody/retention', {
        method,
        key: credential,
        headers: reason,
        ...(method === 'PUT' ? { json: FOR_EVER } : {}),
      });
      expect([reply.status, reply.body.code]).toEqual([404, 'organization_not_found']);
    }
  });

  test.each([
    [{ promptDays: 0, resultDays: null, idempotencyDays: 90 }, 'promptDays'],
    [{ promptDays: 1.5, resultDays: null, idempotencyDays: 90 }, 'promptDays'],
    [{ promptDays: null, resultDays: 3_651, idempotencyDays: 90 }, 'resultDays'],
    [{ promptDays: null, resultDays: null, idempotencyDays: null }, 'idempotencyDays'],
    [{ promptDays: null, resultDays: null, idempotencyDays: 0 }, 'idempotencyDays'],
    [{ resultDays: null, idempotencyDays: 90 }, 'promptDays'],
    [{ ...FOR_EVER, jobDays: 1 }, 'jobDays'],
  ])('%j is refused', async (body, field) => {
    const reply = await put(body);
    expect(reply.status).toBe(400);
    expect(reply.body.errors).toEqual([expect.objectContaining({ path: field })]);
  });

  test('of another organization are neither shown nor set, and SQL refuses whoever is no admin there', async () => {
    const other = await createOrganization(database.superuser);
    expect((await put(FOR_EVER, other.secret)).body.code).toBe('not_your_organization');
    expect((await api.call(path(), { key: other.secret })).body.code).toBe('not_your_organization');
    await database.superuser.query(
      `insert into user_profiles (id, organization_id, role) values ($1 || '-member', $1, 'member'), ($1 || '-admin', $1, 'admin')`,
      [organization.organizationId],
    );
    const { organizationId } = organization;
    for (const [principal, outcome] of [
      [other.principal, 'not_an_admin'],
      [`user:${organizationId}-member`, 'not_an_admin'],
      ['operator:nobody', 'not_an_admin'],
      [`user:${organizationId}-admin`, 'set'],
    ] as const) {
      expect(await keep({ promptDays: 9 }, { ...organization, principal }), principal).toBe(outcome);
    }
  });
});

/** The organization's id with its last character one earlier: pages after it begin with the organization. */
function before({ organizationId }: TestOrganization): string {
  return organizationId.slice(0, -1) + String.fromCharCode(organizationId.charCodeAt(organizationId.length - 1) - 1);
}

async function ledgerOf(): Promise<{ kind: string; amount: number }[]> {
  const { rows } = await database.superuser.query(
    'select kind, amount from tollgate.ledger_entries where organization_id = $1 and kind not in ($2, $3) order by token_type, entry_number',
    [organization.organizationId, 'grant', 'expire'],
  );
  return rows;
}
