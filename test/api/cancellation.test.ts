import type { Client } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { job } from '../../contract/jobs.ts';
import { beginJob, refundJob, storeResult } from '../../db/jobs.ts';
import { jobWorkflowId } from '../../domain/ids.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { startTcpProxy, type TcpProxy } from './tcpProxy.ts';
import { expectProblem, GOAL, runToTheEnd, startTestApi, type TestApi, temporalClient } from './testApi.ts';

let database: TestDatabase;
let temporal: Client;
let toTemporal: TcpProxy;
let api: TestApi;
let organization: TestOrganization;
let jobId: string;

beforeAll(async () => {
  database = await freshDatabase();
  temporal = await temporalClient();
  const [host, port] = inject('temporalAddress').split(':');
  toTemporal = await startTcpProxy({ host: host!, port: Number(port) });
  api = await startTestApi(database, { temporalAddress: toTemporal.address, deadlineMs: 1_000 });
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  jobId = (await api.post(organization, GOAL, 'first')).body.id;
});
afterEach(() => toTemporal.set('pass'));
afterAll(async () => {
  await expectInvariants(database.auditor);
  await Promise.all([api.close(), temporal.connection.close()]);
  await toTemporal.close();
  await database.drop();
});

const cancel = (by = organization) => api.call(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST', key: by.secret });
const begin = () => beginJob(database.worker, organization.organizationId, jobId);
const goalTokens = () => balanceOf(database.superuser, organization.organizationId, 'goal_generation');
const handle = () => temporal.workflow.getHandle(jobWorkflowId(organization.organizationId, jobId));
const cancelRequests = async () =>
  ((await handle().fetchHistory()).events ?? []).filter(
    (event) => event.workflowExecutionCancelRequestedEventAttributes,
  );

describe('R9 cancelling a job', () => {
  test('before it begins gives the tokens back at once, and the work never begins', async () => {
    const reply = await cancel();
    expect(reply.status).toBe(200);
    expect(job.parse(reply.body)).toMatchObject({ state: 'withdrawn', end: { code: 'cancelled' } });
    expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
    expect(await begin()).toEqual({ outcome: 'refused', state: 'withdrawn', code: 'cancelled' });
    expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
    // A late repeat of the first request does not run what was cancelled.
    const late = await api.post(organization, GOAL, 'first');
    expect([late.status, late.body.id]).toEqual([202, jobId]);
    expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
  });

  test('while it runs asks its workflow once and keeps the tokens set aside until the work is over', async () => {
    await begin();
    const first = await cancel();
    const again = await cancel();
    expect([first.status, again.status]).toEqual([202, 202]);
    const { state, cancelRequestedAt } = job.parse(first.body);
    expect(state).toBe('running');
    expect(cancelRequestedAt).not.toBeNull();
    expect(again.body.cancelRequestedAt).toBe(cancelRequestedAt);
    expect(await cancelRequests()).toHaveLength(1);
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
  });

  test('whose work is delivered is only a request: delivered work is charged', async () => {
    await begin();
    await storeResult(database.worker, organization.organizationId, jobId, {}, {});
    expect((await cancel()).status).toBe(202);
    await runToTheEnd(database, organization.organizationId, jobId);
    expect(await goalTokens()).toMatchObject({ available: 17, held: 0 });
    expectProblem(await cancel(), 'job_already_ended');
  });

  test.each(['charged', 'refunded', 'withdrawn'])('that is %s answers 409 and changes nothing', async (end) => {
    if (end === 'charged') await runToTheEnd(database, organization.organizationId, jobId);
    if (end === 'refunded') {
      await begin();
      await refundJob(database.worker, organization.organizationId, jobId, 'operation_failed');
    }
    if (end === 'withdrawn') await cancel();
    const before = await goalTokens();
    expectProblem(await cancel(), 'job_already_ended');
    expect(await goalTokens()).toEqual(before);
  });

  test('of another organization answers 404 and changes nothing', async () => {
    expectProblem(await cancel(await createOrganization(database.superuser)), 'job_not_found');
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
  });

  test('in the moment it begins has one winner', async () => {
    const [reply, beginning] = await Promise.all([cancel(), begin()]);
    if (reply.status === 200) expect(beginning).toEqual({ outcome: 'refused', state: 'withdrawn', code: 'cancelled' });
    else expect([reply.status, beginning.outcome]).toEqual([202, 'held']);
    const held = reply.status === 200 ? 0 : 3;
    expect(await goalTokens()).toMatchObject({ available: 20 - held, held });
  });

  test('ten times at once gives the tokens back once', async () => {
    const statuses = (await Promise.all(Array.from({ length: 10 }, () => cancel()))).map(({ status }) => status);
    expect(statuses).toContain(200);
    expect(statuses.filter((status) => status !== 200 && status !== 409)).toEqual([]);
    expect(await goalTokens()).toMatchObject({ available: 20, held: 0 });
  });

  test('that runs while Temporal is away answers 503, and works once Temporal is back', async () => {
    await begin();
    toTemporal.set('refuse');
    const refusal = await cancel();
    expectProblem(refusal, 'workflows_unavailable');
    expect(Number(refusal.headers.get('retry-after'))).toBeGreaterThan(0);
    toTemporal.set('pass');
    await until(async () => (await cancel()).status === 202);
    expect(await cancelRequests()).toHaveLength(1);
  });

  test('C15 whose workflow was terminated is noted; the sweep settles it by what is stored', async () => {
    await begin();
    await handle().terminate('by an operator');
    const reply = await cancel();
    expect([reply.status, reply.body.state]).toEqual([202, 'running']);
    expect(reply.body.cancelRequestedAt).not.toBeNull();
  });
});
