import type { Client } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { beginJob } from '../../db/jobs.ts';
import { jobWorkflowId } from '../../domain/ids.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { startTcpProxy, type TcpProxy } from './tcpProxy.ts';
import { expectProblem, GOAL, startTestApi, type TestApi, temporalClient, traces } from './testApi.ts';

let database: TestDatabase;
let temporal: Client;
/** In front of the real Temporal and the real PostgreSQL, for the API alone. */
let toTemporal: TcpProxy;
let toDatabase: TcpProxy;
let api: TestApi;
let organization: TestOrganization;

beforeAll(async () => {
  database = await freshDatabase();
  temporal = await temporalClient();
  const [host, port] = inject('temporalAddress').split(':');
  toTemporal = await startTcpProxy({ host: host!, port: Number(port) });
  const databaseUrl = new URL(database.apiUrl);
  toDatabase = await startTcpProxy({ host: databaseUrl.hostname, port: Number(databaseUrl.port) });
  databaseUrl.hostname = '127.0.0.1';
  databaseUrl.port = `${toDatabase.port}`;
  api = await startTestApi(database, {
    databaseUrl: databaseUrl.href,
    temporalAddress: toTemporal.address,
    deadlineMs: 1_000,
  });
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  // A connection that is up: faults hit running systems.
  await until(async () => (await api.call('/readyz')).body.temporal === 'reachable');
});
afterEach(() => {
  toTemporal.set('pass');
  toDatabase.set('pass');
});
afterAll(async () => {
  await expectInvariants(database.auditor);
  await Promise.all([api.close(), temporal.connection.close()]);
  await Promise.all([toTemporal.close(), toDatabase.close()]);
  await database.drop();
});

const goalTokens = () => balanceOf(database.superuser, organization.organizationId, 'goal_generation');

/** The one job of the organization, as it is in the database. */
async function onlyJob(): Promise<{ id: string; state: string; code: string | null } | undefined> {
  const { rows } = await database.superuser.query(
    'select j.id, j.state, j.end_code as code from tollgate.jobs j where j.organization_id = $1',
    [organization.organizationId],
  );
  return rows[0];
}

async function hasWorkflow(jobId: string): Promise<boolean> {
  const handle = temporal.workflow.getHandle(jobWorkflowId(organization.organizationId, jobId));
  return handle.describe().then(
    () => true,
    () => false,
  );
}

function expectUnavailable(reply: Awaited<ReturnType<TestApi['call']>>) {
  expectProblem(reply, 'workflows_unavailable');
  expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0);
}

describe('C16 a start that fails or is in doubt', () => {
  test.each(['refuse', 'silence'] as const)(
    'C7 while Temporal is away (%s) is refused with 503, holds nothing, and does not use the key up',
    async (mode) => {
      toTemporal.set(mode);
      expectUnavailable(await api.post(organization, GOAL, 'again'));
      expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
      const withdrawn = await onlyJob();
      expect(withdrawn).toMatchObject({ state: 'withdrawn', code: 'start_failed' });
      expect(await traces(database, organization.organizationId)).toMatchObject({ records: 0 });

      // Reads and refusals need no Temporal.
      const read = await api.call(`/api/v1/jobs/${withdrawn!.id}`, { key: organization.secret });
      expect(read.body).toMatchObject({ state: 'withdrawn', end: { code: 'start_failed' } });
      expectProblem(await api.post(organization, { feature: 'x', input: {} }), 'feature_unknown');

      toTemporal.set('pass');
      const retry = await until(async () => {
        const reply = await api.post(organization, GOAL, 'again');
        return reply.status === 202 ? reply : null;
      });
      expect(retry.headers.get('idempotent-replayed')).toBeNull();
      expect(retry.body.id).not.toBe(withdrawn!.id);
      expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
    },
  );

  test('that reached Temporal while its answer was lost is withdrawn; the workflow finds it so and nothing is charged', async () => {
    toTemporal.set('lose_answers');
    expectUnavailable(await api.post(organization));
    const { id } = (await onlyJob())!;
    expect(await hasWorkflow(id)).toBe(true);
    expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
    expect(await beginJob(database.worker, organization.organizationId, id)).toEqual({
      outcome: 'refused',
      state: 'withdrawn',
      code: 'start_failed',
    });
    expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
  });

  test('whose workflow has begun meanwhile is accepted: the caller is told the one that won', async () => {
    toTemporal.set('lose_answers');
    const asked = api.post(organization, GOAL, 'won');
    const { id } = await until(onlyJob);
    await until(() => hasWorkflow(id));
    expect(await beginJob(database.worker, organization.organizationId, id)).toMatchObject({ outcome: 'held' });

    const reply = await asked;
    expect([reply.status, reply.body.id]).toEqual([202, id]);
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
    // And so is its repeat, which has no need of Temporal any more.
    const repeat = await api.post(organization, GOAL, 'won');
    expect([repeat.status, repeat.text]).toEqual([202, reply.text]);
  });

  test('that cannot be taken back either is answered with 503; a retry starts that job', async () => {
    toTemporal.set('silence');
    const asked = api.post(organization, GOAL, 'both away');
    const { id } = await until(onlyJob);
    toDatabase.set('refuse');
    expectProblem(await asked, 'database_unavailable');

    toDatabase.set('pass');
    toTemporal.set('pass');
    const retry = await api.post(organization, GOAL, 'both away');
    expect([retry.status, retry.body.id]).toEqual([202, id]);
    expect(await hasWorkflow(id)).toBe(true);
  });

  test('C2 and that nobody retries lapses by itself', async () => {
    toTemporal.set('silence');
    const asked = api.post(organization);
    await until(onlyJob);
    toDatabase.set('refuse');
    expectProblem(await asked, 'database_unavailable');
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    toDatabase.set('pass');
    toTemporal.set('pass');
    // 20 of the plan again: six more jobs fit.
    await until(async () => (await api.call('/readyz')).body.temporal === 'reachable');
    for (let count = 0; count < 6; count++) expect((await api.post(organization)).status).toBe(202);
    expect(await goalTokens()).toMatchObject({ available: 2, held: 18 });
  });
});

describe('C9 while the database is away', () => {
  test('every route fails closed with 503 and Retry-After, and recovers by itself', async () => {
    const { id } = (await api.post(organization)).body;
    toDatabase.set('refuse');
    const key = organization.secret;
    for (const reply of [
      await api.post(organization),
      await api.call('/api/v1/jobs', { key }),
      await api.call(`/api/v1/jobs/${id}`, { key }),
      await api.call(`/api/v1/jobs/${id}/cancel`, { key, method: 'POST' }),
    ]) {
      expectProblem(reply, 'database_unavailable');
      expect(reply.headers.get('retry-after')).toBe('1');
    }
    expect((await api.call('/healthz')).status).toBe(200);
    toDatabase.set('pass');
    expect((await api.call(`/api/v1/jobs/${id}`, { key })).status).toBe(200);
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
  });

  test('a wait outlives it', async () => {
    const { id } = (await api.post(organization)).body;
    const waiting = api.call(`/api/v1/jobs/${id}?wait=20s`, { key: organization.secret });
    await until(() => api.waiters.size() === 1);
    toDatabase.set('refuse');
    await until(() => api.logLines.some((line) => line.includes('could not look for jobs')));
    toDatabase.set('pass');
    await api.call(`/api/v1/jobs/${id}/cancel`, { key: organization.secret, method: 'POST' });
    expect((await waiting).body.state).toBe('withdrawn');
  });
});
