import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createPool } from '../../db/pool.ts';
import { DemoApp } from '../../dev/demoApp.ts';
import { type Stack, startStack } from '../../dev/stack.ts';
import { elapse } from '../support/elapse.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

// Processes are killed for real, and what notices it waits for time-outs of seconds.
vi.setConfig({ testTimeout: 90_000, hookTimeout: 120_000 });

let stack: Stack;
let superuser: pg.Pool;

beforeAll(async () => {
  const stateDirectory = await mkdtemp(join(tmpdir(), 'tollgate-crash-'));
  stack = await startStack({ stateDirectory, ports: 'free', ephemeral: true, say: () => {} });
  superuser = createPool({ url: stack.urls.databases.superuser!, applicationName: 'crash-test', maxConnections: 20 });
});
afterAll(async () => {
  await expectInvariants(superuser);
  await superuser.end();
  await stack.stop();
});

async function newApp(): Promise<DemoApp> {
  const { organizationId, secret } = await createOrganization(superuser);
  return new DemoApp(stack.urls.api, stack.urls.ai, organizationId, secret);
}

const GOAL = { industry: 'logistics', horizonMonths: 12 };
const goal = (directive: string) => ({ ...GOAL, industry: `logistics [[stand-in: ${directive}]]` });

/** The whole story of an organization's goal tokens: what is left, what is held, how many charges were booked. */
async function books(organizationId: string) {
  const { rows } = await superuser.query(
    `select b.available, b.held,
            (select count(*)::int from public.ai_token_usage_log u where u.organization_id = b.organization_id) as charges
       from tollgate.balances b where b.organization_id = $1 and b.token_type = 'goal_generation'`,
    [organizationId],
  );
  return rows[0];
}
const CHARGED_ONCE = { available: 17, held: 0, charges: 1 };
const NOT_CHARGED = { available: 20, held: 0, charges: 0 };

/** Holds a lock in a connection of its own, so that whoever needs it stands still at exactly that statement. */
async function lock(statement: string, values: unknown[] = []): Promise<{ release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: stack.urls.databases.superuser! });
  await client.connect();
  await client.query('begin');
  await client.query(statement, values);
  return {
    release: async () => {
      await client.query('rollback');
      await client.end();
    },
  };
}

/** Waits until a connection of that role stands at a lock within the named function, and answers its process id. */
function standingAt(fn: string): Promise<number> {
  return until(async () => {
    const { rows } = await superuser.query(
      `select a.pid from pg_stat_activity a
        where a.wait_event_type = 'Lock' and a.usename in ('tollgate_api', 'tollgate_worker') and a.query like $1`,
      [`%tollgate.${fn}(%`],
    );
    return rows[0]?.pid as number | undefined;
  });
}

describe('C5: the worker is killed with SIGKILL', () => {
  async function killWorker(): Promise<void> {
    stack.kill('worker', 'SIGKILL');
  }

  test('while it reserves: the job is charged once', async () => {
    const app = await newApp();
    await killWorker();
    const { body } = await app.post('generate_goal', GOAL);
    const gate = await lock('select 1 from tollgate.jobs j where j.id = $1 for update', [body.id]);
    await stack.restarted('worker');
    await standingAt('begin_job');
    await killWorker();
    await gate.release();
    expect(await app.ended(String(body.id))).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
  });

  test('before it calls the provider: the job is charged once, and the provider was asked once', async () => {
    const app = await newApp();
    const gate = await lock('lock table tollgate.job_attempts in access exclusive mode');
    const { body } = await app.post('generate_goal', GOAL);
    await standingAt('record_attempt');
    await killWorker();
    await gate.release();
    expect(await app.ended(String(body.id))).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
    expect(await app.providerCalls(String(body.id))).toHaveLength(1);
  });

  test('during the call: the job is charged once, and both calls carry one idempotency key', async () => {
    const app = await newApp();
    const { body } = await app.post('generate_goal', goal('hold'));
    const calls = (count: number) =>
      until(async () => (await app.providerCalls(String(body.id))).length === count, 60_000);
    await calls(1);
    await killWorker();
    await calls(2);
    await app.releaseProvider();
    expect(await app.ended(String(body.id))).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
    expect(new Set((await app.providerCalls(String(body.id))).map((call) => call.idempotencyKey)).size).toBe(1);
  });

  test('after the call, with the result on its way to the database: the job is charged once', async () => {
    const app = await newApp();
    const { body } = await app.post('generate_goal', goal('hold'));
    await until(async () => (await app.providerCalls(String(body.id))).length === 1);
    const gate = await lock('select 1 from tollgate.jobs j where j.id = $1 for update', [body.id]);
    await app.releaseProvider();
    await standingAt('store_result');
    await killWorker();
    await gate.release();
    const nextAttempt = until(async () => (await app.providerCalls(String(body.id))).length === 2, 30_000).then(
      () => app.releaseProvider(),
      () => {},
    );
    expect(await app.ended(String(body.id))).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
    void nextAttempt;
  });

  test.each([
    { settlement: 'commit_job', input: GOAL, ends: 'charged', books: CHARGED_ONCE },
    { settlement: 'refund_job', input: goal('refuse'), ends: 'refunded', books: NOT_CHARGED },
  ])(
    'while $settlement is under way, its transaction lost: the job is $ends once',
    async ({ settlement, input, ends, books: mustBe }) => {
      const app = await newApp();
      const gate = await lock('lock table tollgate.outbox in access exclusive mode');
      const { body } = await app.post('generate_goal', input);
      const backend = await standingAt(settlement);
      await killWorker();
      await superuser.query('select pg_terminate_backend($1)', [backend]);
      await gate.release();
      expect(await app.ended(String(body.id))).toMatchObject({ state: ends });
      expect(await books(app.organizationId)).toEqual(mustBe);
    },
  );

  test.each([
    { settlement: 'commit_job', input: GOAL, ends: 'charged', books: CHARGED_ONCE },
    { settlement: 'refund_job', input: goal('refuse'), ends: 'refunded', books: NOT_CHARGED },
  ])(
    'after $settlement took effect, before anybody heard of it: the job is $ends once',
    async ({ settlement, input, ends, books: mustBe }) => {
      const app = await newApp();
      const gate = await lock('lock table tollgate.outbox in access exclusive mode');
      const { body } = await app.post('generate_goal', input);
      await standingAt(settlement);
      await killWorker();
      // The database does not notice that its client is gone and finishes the transaction.
      await gate.release();
      expect(await app.ended(String(body.id))).toMatchObject({ state: ends });
      expect(await books(app.organizationId)).toEqual(mustBe);
    },
  );
});

describe('the API is killed with SIGKILL', () => {
  /** Asks for a job, kills the API when it stands within admission, and tells what is left for the same key. */
  async function killDuringAdmission(app: DemoApp, key: string, transactionSurvives: boolean): Promise<void> {
    const gate = await lock('select 1 from tollgate.balances b where b.organization_id = $1 for update', [
      app.organizationId,
    ]);
    const lost = app.post('generate_goal', GOAL, key).then(
      () => 'answered',
      () => 'lost',
    );
    const backend = await standingAt('admit_job');
    stack.kill('api', 'SIGKILL');
    if (!transactionSurvives) await superuser.query('select pg_terminate_backend($1)', [backend]);
    await gate.release();
    expect(await lost).toBe('lost');
    await stack.restarted('api');
  }

  test('C1: before the admission commits: nothing is held, and a retry with the same key succeeds once', async () => {
    const app = await newApp();
    await killDuringAdmission(app, 'c1', false);
    expect(await books(app.organizationId)).toEqual(NOT_CHARGED);

    const retry = await app.post('generate_goal', GOAL, 'c1');
    expect(retry.status).toBe(202);
    expect(retry.headers.get('idempotent-replayed')).toBeNull();
    expect(await app.ended(String(retry.body.id))).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
  });

  test('C2: after the admission, before the workflow starts: a retry with the same key starts that very job', async () => {
    const app = await newApp();
    await killDuringAdmission(app, 'c2', true);
    const admitted = await until(async () => {
      const { rows } = await superuser.query('select j.id, j.state from tollgate.jobs j where j.organization_id = $1', [
        app.organizationId,
      ]);
      return rows[0];
    });
    expect(admitted.state).toBe('admitted');

    const retry = await app.post('generate_goal', GOAL, 'c2');
    expect(retry.headers.get('idempotent-replayed')).toBe('true');
    expect(retry.body.id).toBe(admitted.id);
    expect(await app.ended(admitted.id)).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
  });

  test('C2: without a retry the hold lapses by time, the Schedule withdraws the job, and the key is free again', async () => {
    const app = await newApp();
    await killDuringAdmission(app, 'c2-alone', true);
    const jobId = await until(async () => {
      const { rows } = await superuser.query('select j.id from tollgate.jobs j where j.organization_id = $1', [
        app.organizationId,
      ]);
      return rows[0]?.id as string | undefined;
    });
    await elapse(superuser, app.organizationId, '2 minutes');
    const job = await app.ended(jobId);
    expect(job).toMatchObject({ state: 'withdrawn', end: { code: 'never_started' } });
    expect(await books(app.organizationId)).toEqual(NOT_CHARGED);
    const again = await app.post('generate_goal', GOAL, 'c2-alone');
    expect(again.body.id).not.toBe(jobId);
    expect(await app.ended(String(again.body.id))).toMatchObject({ state: 'charged' });
  });

  test('C3: after the workflow started, before the reply: a retry gets the same job', async () => {
    const app = await newApp();
    // The reply is held back by nobody: the first one is simply thrown away, as a broken connection would.
    const first = await app.post('generate_goal', goal('hold'), 'c3');
    stack.kill('api', 'SIGKILL');
    await stack.restarted('api');
    const retry = await app.post('generate_goal', goal('hold'), 'c3');
    expect(retry.body).toEqual(first.body);
    await until(async () => (await app.providerCalls(String(first.body.id))).length === 1);
    await app.releaseProvider();
    expect(await app.ended(String(first.body.id))).toMatchObject({ state: 'charged' });
    expect(await books(app.organizationId)).toEqual(CHARGED_ONCE);
  });
});
