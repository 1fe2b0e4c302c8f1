import { writeFile } from 'node:fs/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { afterAll, beforeAll, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { gateAt } from '../support/gate.ts';
import { type JobWish, type JobWorker, startJobWorker } from '../support/jobWorker.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

/**
 * Records the histories that replay.test.ts replays: `npm run record`. For a workflow that has landed, add a new file
 * beside the old one; an old history is never recorded again, it is what running workflows look like.
 */

let database: TestDatabase;
let worker: JobWorker;

beforeAll(async () => {
  database = await freshDatabase();
  worker = await startJobWorker(database);
});
afterAll(async () => {
  await worker.stop();
  await database.drop();
});

const wish = (directive: string): JobWish => ({
  input: { industry: `logistics [[stand-in: ${directive}]]`, horizonMonths: 12 },
});

const run = async (job?: JobWish) => worker.run(await createOrganization(database.superuser), job);

async function cancelledDuring(step: string, job?: JobWish) {
  const gate = gateAt(step);
  worker.intercept(gate.intercept);
  const { handle } = await run(job);
  await gate.arrived;
  await handle.cancel();
  gate.open();
  return handle;
}

const scenarios: Record<string, () => Promise<WorkflowHandle>> = {
  'runJob.charged': async () => (await run()).handle,
  'runJob.refunded': async () => (await run(wish('refuse'))).handle,
  'runJob.timed-out': async () => (await run({ ...wish('hold'), timeBudgetMs: 1_000 })).handle,
  'runJob.refused': async () => {
    const organization = await createOrganization(database.superuser);
    const jobId = await worker.admit(organization, { holdLifetimeMs: 1 });
    await database.superuser.query('update public.ai_tokens set balance = 0 where organization_id = $1', [
      organization.organizationId,
    ]);
    return worker.start(organization, jobId);
  },
  'runJob.answer-lost': async () => {
    worker.intercept(async ({ name, run }) => {
      const answer = await run();
      if (name === 'runOperation') throw new Error('planted: the answer is lost');
      return answer;
    });
    return (await run({ timeBudgetMs: 2_500 })).handle;
  },
  'runJob.cancelled-during-reserve': () => cancelledDuring('beginJob', wish('hold')),
  'runJob.cancelled-during-operation': async () => {
    const { jobId, handle } = await run(wish('hold'));
    await until(() => worker.standIn.calls().some((call) => call.idempotencyKey?.endsWith(jobId)));
    await handle.cancel();
    return handle;
  },
  'runJob.cancelled-during-commit': () => cancelledDuring('commitJob'),
  'runJob.cancelled-during-refund': () => cancelledDuring('refundJob', wish('refuse')),
  'runJob.commit-refused-for-a-while': async () => {
    let refusals = 6;
    worker.intercept(async ({ name, run }) => {
      if (name === 'commitJob' && refusals-- > 0) throw new Error('planted: refused');
      return run();
    });
    return (await run()).handle;
  },
  applyRetention: () =>
    worker.client.workflow.start('applyRetention', {
      taskQueue: worker.taskQueue,
      workflowId: `applyRetention-${worker.taskQueue}`,
    }),
  sealLedger: () =>
    worker.client.workflow.start('sealLedger', {
      taskQueue: worker.taskQueue,
      workflowId: `sealLedger-${worker.taskQueue}`,
    }),
  settleOrphanedJobs: () =>
    worker.client.workflow.start('settleOrphanedJobs', {
      taskQueue: worker.taskQueue,
      workflowId: `settleOrphanedJobs-${worker.taskQueue}`,
    }),
};

test.each(Object.entries(scenarios))(
  'record %s',
  async (name, scenario) => {
    const handle = await scenario();
    await handle.result();
    worker.intercept(null);
    const history: unknown = JSON.parse(historyToJSON(await handle.fetchHistory()));
    await writeFile(
      new URL(`./histories/${name}.json`, import.meta.url),
      `${JSON.stringify({ workflowId: handle.workflowId, history: withoutMachine(history) }, null, 1)}\n`,
    );
  },
  60_000,
);

/** Stack traces and identities tell of the machine that recorded, and replay does not look at them. */
function withoutMachine(history: unknown): unknown {
  return JSON.parse(
    JSON.stringify(history, (key, value: unknown) =>
      key === 'stackTrace' ? '' : key === 'identity' || key === 'hostName' ? 'recorder' : value,
    ),
  );
}
