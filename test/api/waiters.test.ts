import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { expectProblem, runToTheEnd, startTestApi, type TestApi } from './testApi.ts';

const MOST_WAITERS = 40;

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let jobId: string;

beforeAll(async () => {
  database = await freshDatabase();
});
beforeEach(async () => {
  api = await startTestApi(database, { mostWaiters: MOST_WAITERS });
  organization = await createOrganization(database.superuser, 'enterprise');
  jobId = (await api.post(organization)).body.id;
  return () => api.close();
});
afterAll(() => database.drop());

const wait = (signal?: AbortSignal, id = jobId) =>
  api.call(`/api/v1/jobs/${id}?wait=20s`, { key: organization.secret, ...(signal ? { signal } : {}) });
const waiting = (count: number) => until(() => api.waiters.size() === count);

describe('waiting for jobs', () => {
  test('costs one query at a time for all who wait, about ten a second, and none when nobody waits', async () => {
    const waits = Array.from({ length: MOST_WAITERS }, () => wait());
    await waiting(MOST_WAITERS);
    await until(() => api.pool.idleCount === api.pool.totalCount);

    let queries = 0;
    let inFlight = 0;
    let mostInFlight = 0;
    api.pool.on('acquire', () => {
      queries += 1;
      inFlight += 1;
      mostInFlight = Math.max(mostInFlight, inFlight);
    });
    api.pool.on('release', () => {
      inFlight -= 1;
    });
    const startedAt = performance.now();
    await until(() => queries >= 5);
    const seconds = (performance.now() - startedAt) / 1_000;
    expect(mostInFlight).toBe(1);
    expect(queries / seconds).toBeLessThan(12.5);

    await runToTheEnd(database, organization.organizationId, jobId);
    const states = (await Promise.all(waits)).map(({ body }) => body.state);
    expect(states).toEqual(Array(MOST_WAITERS).fill('charged'));

    // One more look may have been on its way; after it, silence.
    await until(() => inFlight === 0);
    const atRest = queries;
    await expect(until(() => queries > atRest + 1, 500)).rejects.toThrow('did not come');
  });

  test('never puts a second query beside one that hangs', async () => {
    const others = await Promise.all([0, 1, 2].map(async () => (await api.post(organization)).body.id as string));
    const waits = [jobId, ...others].map((id) => wait(undefined, id));
    await waiting(4);
    await until(() => api.pool.idleCount === api.pool.totalCount);
    const locker = await database.superuser.connect();
    try {
      await locker.query('begin');
      await locker.query('lock table tollgate.jobs in access exclusive mode');
      const isBusy = () => api.pool.totalCount - api.pool.idleCount;
      await until(() => isBusy() === 1);
      await expect(until(() => isBusy() > 1, 500)).rejects.toThrow('did not come');
    } finally {
      await locker.query('rollback');
      locker.release();
    }
    for (const id of [jobId, ...others]) await runToTheEnd(database, organization.organizationId, id);
    expect((await Promise.all(waits)).map(({ body }) => body.state)).toEqual(Array(4).fill('charged'));
  });

  test('ends when the caller leaves', async () => {
    const leaving = new AbortController();
    const left = wait(leaving.signal).catch((error: Error) => error.name);
    await waiting(1);
    leaving.abort();
    expect(await left).toBe('AbortError');
    await waiting(0);
  });

  test('is refused with 503 beyond the bound; reading without waiting is not', async () => {
    const leaving = new AbortController();
    const waits = Array.from({ length: MOST_WAITERS }, () => wait(leaving.signal).catch(() => null));
    await waiting(MOST_WAITERS);
    const refusal = await wait();
    expectProblem(refusal, 'too_many_waiters');
    expect(refusal.headers.get('retry-after')).toBe('1');
    expect((await api.call(`/api/v1/jobs/${jobId}`, { key: organization.secret })).status).toBe(200);
    leaving.abort();
    await Promise.all(waits);
    await waiting(0);
  });

  test('is answered at once with the present state when the process drains, and not begun any more', async () => {
    const waits = [wait(), wait()];
    await waiting(2);
    api.drain();
    for (const reply of [...(await Promise.all(waits)), await wait()]) {
      expect([reply.status, reply.body.state]).toEqual([200, 'admitted']);
      expect(reply.headers.get('connection')).toBe('close');
    }
  });

  test("S2 does not tell of another organization's job", async () => {
    const neighbour = await createOrganization(database.superuser);
    const reply = await api.call(`/api/v1/jobs/${jobId}?wait=20s`, { key: neighbour.secret });
    expectProblem(reply, 'job_not_found');
    expect(api.waiters.size()).toBe(0);
  });
});
