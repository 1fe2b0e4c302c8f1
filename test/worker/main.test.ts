import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { findJob } from '../../db/jobs.ts';
import { freePort } from '../../dev/ports.ts';
import { startTemporalServer } from '../../dev/temporalServer.ts';
import { jobWorkflowId } from '../../domain/ids.ts';
import { createWorker } from '../../worker/createWorker.ts';
import { serveHealth } from '../../worker/health.ts';
import type { runJob } from '../../workflows/runJob.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { type JobWorker, startJobWorker } from '../support/jobWorker.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

let database: TestDatabase;
let neighbour: JobWorker;

beforeAll(async () => {
  database = await freshDatabase();
  neighbour = await startJobWorker(database);
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await neighbour.stop();
  await database.drop();
});

test('C6: a worker that is asked to end finishes the operation it is at, then exits 0', async () => {
  const { child, taskQueue, healthUrl, ended } = await startWorkerProcess(database, neighbour.standIn);
  await until(async () => (await fetch(`${healthUrl}/readyz`).catch(() => null))?.ok);
  const health = await (await fetch(`${healthUrl}/readyz`)).json();
  expect(health).toMatchObject({ outbox: { organizationSignals: { failingOrganizations: 0 } } });
  const organization = await createOrganization(database.superuser);
  const { organizationId } = organization;
  const jobId = await neighbour.admit(organization, {
    input: { industry: 'logistics [[stand-in: hold]]', horizonMonths: 12 },
  });
  await neighbour.client.workflow.start<typeof runJob>('runJob', {
    workflowId: jobWorkflowId(organizationId, jobId),
    taskQueue,
    args: [{ organizationId, jobId }],
  });
  const calls = () => neighbour.standIn.calls().filter((call) => call.idempotencyKey?.endsWith(jobId));
  await until(() => calls().length === 1);

  child.kill('SIGTERM');
  await until(async () => (await fetch(`${healthUrl}/readyz`).catch(() => null))?.status === 503);
  neighbour.standIn.release();
  expect(await ended).toBe(0);
  expect(calls()).toMatchObject([{ outcome: 'answered', attempt: 1 }]);
  // The result is stored; whoever polls next charges it.
  expect(await findJob(database.api, organizationId, jobId)).toMatchObject({
    state: expect.stringMatching(/delivered|charged/),
  });
  const next = await startWorkerProcess(database, neighbour.standIn, { TEMPORAL_TASK_QUEUE: taskQueue });
  await until(async () => (await findJob(database.api, organizationId, jobId))?.state === 'charged', 20_000);
  expect(calls()).toHaveLength(1);
  next.child.kill('SIGTERM');
  expect(await next.ended).toBe(0);
}, 60_000);

test('a worker that still waits for Temporal ends when it is asked to', async () => {
  const nobody = `127.0.0.1:${await freePort()}`;
  const { child, output, ended } = await startWorkerProcess(database, neighbour.standIn, { TEMPORAL_ADDRESS: nobody });
  await until(() => output().includes('waiting for Temporal'));
  child.kill('SIGTERM');
  expect(await ended).toBe(0);
}, 30_000);

test('a worker that polls nothing is not ready, and one whose Temporal is gone is not either', async () => {
  const temporal = await startTemporalServer({ say: () => {} });
  onTestFinished(() => temporal.stop());
  const connection = await NativeConnection.connect({ address: temporal.address });
  const worker = await createWorker({
    connection,
    namespace: 'default',
    taskQueue: 'readiness',
    pool: database.worker,
    generation: { generate: () => Promise.reject(new Error('nobody asks')) },
  });
  const server = await serveHealth({
    host: '127.0.0.1',
    port: 0,
    worker,
    connection,
    pool: database.worker,
    dispatcher: { lag: () => Promise.resolve({}) },
  });
  onTestFinished(() => void server.close());
  const { port } = server.address() as { port: number };
  const readiness = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    return { http: response.status, ...((await response.json()) as Record<string, string>) };
  };

  expect(await readiness()).toMatchObject({ http: 503, worker: 'initialized', temporal: 'reachable' });
  const running = worker.run();
  await until(async () => (await readiness()).http === 200);
  await temporal.stop();
  const gone = await until(async () => {
    const now = await readiness();
    return now.http === 503 && now;
  });
  expect(gone).toMatchObject({ status: 'not ready', temporal: 'unreachable' });
  worker.shutdown();
  await running.catch(() => {});
}, 60_000);
