import { Client } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { ensureSchedules } from '../../worker/schedules.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { type JobWorker, startJobWorker } from '../support/jobWorker.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let worker: JobWorker;
let runs = 0;

beforeAll(async () => {
  database = await freshDatabase();
  worker = await startJobWorker(database);
});
afterEach(() => worker.intercept(null));
afterAll(async () => {
  await worker.stop();
  await database.drop();
});

const apply = () => {
  runs += 1;
  return worker.client.workflow.execute('applyRetention', {
    taskQueue: worker.taskQueue,
    workflowId: `retention-${worker.taskQueue}-${runs}`,
  });
};

/** Idempotency records of a hundred days ago, which nobody set to be kept longer than 90. */
async function plantOldRecords(count: number): Promise<void> {
  const { organizationId } = await createOrganization(database.superuser);
  await database.superuser.query(
    `insert into tollgate.idempotency_records (organization_id, key, request_hash, created_at)
     select $1, 'old-' || n, sha256(''), clock_timestamp() - interval '100 days' from generate_series(1, $2) n`,
    [organizationId, count],
  );
}

const left = async () =>
  (await database.superuser.query('select count(*)::integer as records from tollgate.idempotency_records')).rows[0]
    .records;

test('erases what is over, page after page, until nothing is left', async () => {
  await plantOldRecords(1_200);
  expect(await apply()).toMatchObject({ inputs: 0, results: 0, records: 1_200 });
  expect(await left()).toBe(0);
  expect(await apply()).toMatchObject({ organizations: 1, records: 0 });
});

test('an attempt whose answer was lost is followed by one that finds it erased', async () => {
  await plantOldRecords(3);
  worker.intercept(async ({ attempt, run }) => {
    const answer = await run();
    if (attempt === 1) throw new Error('planted: the answer is lost');
    return answer;
  });
  expect(await apply()).toMatchObject({ records: 0 });
  expect(await left()).toBe(0);
});

test('runs on its Schedule', async () => {
  const client = new Client({ connection: worker.client.connection });
  const handles = ['sealLedger', 'settleOrphanedJobs', 'applyRetention'].map((name) =>
    client.schedule.getHandle(`${name}:${worker.taskQueue}`),
  );
  onTestFinished(async () => {
    for (const handle of handles) await handle.delete().catch(() => {});
  });
  const day = 86_400_000;
  await plantOldRecords(1);
  await ensureSchedules(client, {
    taskQueue: worker.taskQueue,
    orphanSweepIntervalMs: day,
    ledgerSealIntervalMs: day,
    retentionIntervalMs: 1_000,
  });
  await until(async () => (await left()) === 0);
});
