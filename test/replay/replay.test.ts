import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import type { History } from '@temporalio/common/lib/proto-utils.js';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { bundleWorkflowCode, DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { beforeAll, describe, expect, test } from 'vitest';
import { workflowsPath } from '../../worker/createWorker.ts';

const folder = new URL('./histories/', import.meta.url);
const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
let workflowBundle: Awaited<ReturnType<typeof bundleWorkflowCode>>;

beforeAll(async () => {
  Runtime.install({ logger: new DefaultLogger('ERROR'), shutdownSignals: [] });
  workflowBundle = await bundleWorkflowCode({ workflowsPath, logger: new DefaultLogger('ERROR') });
});

async function historyOf(name: string): Promise<{ workflowId: string; history: History }> {
  const { workflowId, history } = JSON.parse(await readFile(new URL(name, folder), 'utf8'));
  return { workflowId, history: historyFromJSON(history) };
}

describe('a workflow that ran under an earlier version goes on under this one', () => {
  test('histories of every way a job can end are recorded', () => {
    expect(names).toEqual([
      'applyRetention.json',
      'runJob.answer-lost.json',
      'runJob.cancelled-during-commit.json',
      'runJob.cancelled-during-operation.json',
      'runJob.cancelled-during-refund.json',
      'runJob.cancelled-during-reserve.json',
      'runJob.charged.json',
      'runJob.commit-refused-for-a-while.json',
      'runJob.refunded.json',
      'runJob.refused.json',
      'runJob.timed-out.json',
      'sealLedger.json',
      'settleOrphanedJobs.json',
    ]);
  });

  test.each(names)('%s replays', async (name) => {
    const { workflowId, history } = await historyOf(name);
    await Worker.runReplayHistory({ workflowBundle }, history, workflowId);
  });

  test('a workflow that decides otherwise is caught by the replay', async () => {
    const broken = await bundleWorkflowCode({
      workflowsPath: fileURLToPath(new URL('./broken/index.ts', import.meta.url)),
      logger: new DefaultLogger('ERROR'),
    });
    const { workflowId, history } = await historyOf('runJob.charged.json');
    await expect(Worker.runReplayHistory({ workflowBundle: broken }, history, workflowId)).rejects.toThrow(
      DeterminismViolationError,
    );
  });

  test('the bundle carries neither zod nor node modules', () => {
    expect(workflowBundle.code).not.toMatch(/ZodType|node_modules\/zod/);
    expect(workflowBundle.code).not.toMatch(/require\(["']node:/);
  });
});
