import { createTollgate, isTollgateError, type Tollgate } from '@tollgate/sdk';
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { beginJob, refundJob } from '../../db/jobs.ts';
import { GOAL, runToTheEnd, startTestApi, type TestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { type FaultyProxy, startFaultyProxy } from './faultyProxy.ts';

let database: TestDatabase;
let api: TestApi;
let proxy: FaultyProxy;
let organization: TestOrganization;
let tollgate: Tollgate;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  proxy = await startFaultyProxy(api.url);
});
beforeEach(async () => {
  proxy.retarget(api.url);
  proxy.decide(() => 'pass');
  proxy.seen.length = 0;
  organization = await createOrganization(database.superuser);
  tollgate = createTollgate({ url: proxy.url, apiKey: organization.secret, backOffMs: 2 });
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await proxy.close();
  await api.close();
  await database.drop();
});

const goals = () => balanceOf(database.superuser, organization.organizationId, 'goal_generation');

/** The ids of the organization's jobs, once there are any. */
async function jobs(): Promise<string[]> {
  const found = () =>
    database.superuser.query('select j.id from tollgate.jobs j where j.organization_id = $1', [
      organization.organizationId,
    ]);
  const { rows } = await until(async () => {
    const now = await found();
    return now.rows.length > 0 && now;
  });
  return rows.map(({ id }) => id);
}

const isWaitedFor = () => until(() => proxy.seen.some(({ path }) => path.includes('?wait=')));

test('answers the result once the job is charged', async () => {
  const running = tollgate.jobs.run(GOAL.feature, GOAL.input);
  await isWaitedFor();
  await runToTheEnd(database, organization.organizationId, (await jobs())[0]!);
  expect((await running).title).toBe('Ship faster');
  expect(await goals()).toMatchObject({ available: 17, held: 0 });
});

test('survives a restart of the API while it waits, and lost answers to its start: one job, one charge', async () => {
  let starts = 0;
  proxy.decide(({ method }) => (method === 'POST' && ++starts < 3 ? 'lose_answer' : 'pass'));
  const before = await startTestApi(database);
  proxy.retarget(before.url);
  const running = tollgate.jobs.run(GOAL.feature, GOAL.input);
  await isWaitedFor();
  await before.close();
  await until(() => proxy.seen.filter(({ path }) => path.includes('?wait=')).length > 8);
  const after = await startTestApi(database);
  onTestFinished(() => after.close());
  proxy.retarget(after.url);
  const ids = await jobs();
  await runToTheEnd(database, organization.organizationId, ids[0]!);
  expect((await running).title).toBe('Ship faster');
  expect([ids.length, (await goals()).available]).toEqual([1, 17]);
});

test('says why a job ended without a charge', async () => {
  const running = tollgate.jobs.run(GOAL.feature, GOAL.input).catch((error: unknown) => error);
  await isWaitedFor();
  const [id] = await jobs();
  await beginJob(database.worker, organization.organizationId, id!);
  await refundJob(database.worker, organization.organizationId, id!, 'operation_timed_out');
  const error = await running;
  if (!isTollgateError(error, 'job_not_charged')) throw error;
  expect([error.end.code, error.jobId, error.message]).toEqual([
    'operation_timed_out',
    id,
    'The AI operation did not finish within its time budget. The tokens were given back.',
  ]);
});

test('a start that is refused is thrown as what it is', async () => {
  const many = { industry: 'x'.repeat(500), horizonMonths: 12 };
  await expect(tollgate.jobs.run('generate_goal', many)).rejects.toMatchObject({ code: 'invalid_request' });
  await database.superuser.query('update ai_tokens set balance = 2 where organization_id = $1', [
    organization.organizationId,
  ]);
  const error = await tollgate.jobs.run(GOAL.feature, GOAL.input).catch((thrown: unknown) => thrown);
  if (!isTollgateError(error, 'tokens_insufficient')) throw error;
  expect([error.required, error.available]).toEqual([3, 2]);
});

test('after its deadline it says so; the same call under the same key takes the waiting up again', async () => {
  const options = { idempotencyKey: 'goal-1', deadlineMs: 300 };
  const error = await tollgate.jobs.run(GOAL.feature, GOAL.input, options).catch((thrown: unknown) => thrown);
  if (!isTollgateError(error, 'deadline_passed')) throw error;
  // Another process, which knows the key.
  const other = createTollgate({ url: proxy.url, apiKey: organization.secret });
  const again = other.jobs.run(GOAL.feature, GOAL.input, { idempotencyKey: 'goal-1' });
  await runToTheEnd(database, organization.organizationId, error.jobId);
  expect((await again).title).toBe('Ship faster');
  expect((await tollgate.jobs.wait(error.jobId)).state).toBe('charged');
  expect([(await jobs()).length, (await goals()).available]).toEqual([1, 17]);
});

test('an abort while it waits asks the job to end, and throws the signal’s reason', async () => {
  const stop = new Error('enough');
  const aborted = new AbortController();
  const running = tollgate.jobs.run(GOAL.feature, GOAL.input, { signal: aborted.signal });
  await isWaitedFor();
  aborted.abort(stop);
  await expect(running).rejects.toBe(stop);
  expect((await tollgate.jobs.get((await jobs())[0]!)).end?.code).toBe('cancelled');
  expect(await goals()).toMatchObject({ available: 20, held: 0 });
});

test('an abort while it is being started throws at once, and asks the job to end once it is there', async () => {
  const stop = new Error('enough');
  const aborted = new AbortController();
  proxy.decide(() => {
    aborted.abort(stop);
    return 'pass';
  });
  await expect(tollgate.jobs.run(GOAL.feature, GOAL.input, { signal: aborted.signal })).rejects.toBe(stop);
  const [id] = await jobs();
  await until(async () => (await tollgate.jobs.get(id!)).end?.code === 'cancelled');
  expect(await goals()).toMatchObject({ available: 20, held: 0 });
});
