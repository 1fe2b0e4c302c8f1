import { Client } from '@temporalio/client';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { verify } from '../../db/verify.ts';
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

const seal = () => {
  runs += 1;
  return worker.client.workflow.execute('sealLedger', {
    taskQueue: worker.taskQueue,
    workflowId: `seal-${worker.taskQueue}-${runs}`,
  });
};

async function unsealed(): Promise<number> {
  const { rows } = await database.superuser.query(
    `select count(*) from tollgate.ledger_entries e
      where not exists (select from tollgate.ledger_seals s where s.organization_id = e.organization_id and s.token_type = e.token_type
                           and e.entry_number between s.first_entry and s.last_entry)`,
  );
  return rows[0].count;
}

test('seals every balance, page after page, until nothing is left', async () => {
  // 5 balances each: three pages.
  await Promise.all(Array.from({ length: 45 }, () => createOrganization(database.superuser)));
  expect(await unsealed()).toBe(225);
  expect(await seal()).toEqual({ seals: 225, entries: 225 });
  expect(await unsealed()).toBe(0);
  expect(await seal()).toEqual({ seals: 0, entries: 0 });
  expect(await verify(database.auditor)).toEqual([]);
});

test('an attempt whose answer was lost is followed by one that finds it sealed', async () => {
  await createOrganization(database.superuser);
  worker.intercept(async ({ attempt, run }) => {
    const answer = await run();
    if (attempt === 1) throw new Error('planted: the answer is lost');
    return answer;
  });
  expect(await seal()).toEqual({ seals: 0, entries: 0 });
  expect(await unsealed()).toBe(0);
  expect(await verify(database.auditor)).toEqual([]);
});

test('a ledger with a gap makes the run fail, which is what an operator sees', async () => {
  const { organizationId } = await createOrganization(database.superuser);
  await database.superuser.query(
    'update tollgate.balances set last_entry = 2 where organization_id = $1 and token_type = $2',
    [organizationId, 'forecast'],
  );
  await expect(seal()).rejects.toMatchObject({
    cause: { message: expect.stringContaining('1 balances have entries missing'), type: 'LedgerHasGaps' },
  });
  expect(await unsealed()).toBe(1);
  await database.superuser.query(
    'update tollgate.balances set last_entry = 1 where organization_id = $1 and token_type = $2',
    [organizationId, 'forecast'],
  );
  await seal();
  expect(await unsealed()).toBe(0);
});

test('runs on its Schedule, made by whichever worker starts first and brought up to date by the next', async () => {
  const client = new Client({ connection: worker.client.connection });
  const handles = ['sealLedger', 'settleOrphanedJobs', 'applyRetention'].map((name) =>
    client.schedule.getHandle(`${name}:${worker.taskQueue}`),
  );
  onTestFinished(async () => {
    for (const handle of handles) await handle.delete().catch(() => {});
  });
  const day = 86_400_000;
  const rarely = {
    taskQueue: worker.taskQueue,
    orphanSweepIntervalMs: day,
    ledgerSealIntervalMs: day,
    retentionIntervalMs: day,
  };
  await ensureSchedules(client, rarely);
  await ensureSchedules(client, { ...rarely, ledgerSealIntervalMs: 1_000 });
  const { spec, action } = await handles[0]!.describe();
  expect(spec.intervals).toMatchObject([{ every: 1_000 }]);
  expect(action).toMatchObject({ workflowType: 'sealLedger', taskQueue: worker.taskQueue });
  await createOrganization(database.superuser);
  await until(async () => (await unsealed()) === 0);
});
