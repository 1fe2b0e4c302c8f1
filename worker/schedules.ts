import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type * as workflows from '../workflows/index.ts';

/** Makes the Schedules that the engine needs, or brings existing ones up to this code. Pausing one by hand stays paused. */
export async function ensureSchedules(
  client: Client,
  options: {
    taskQueue: string;
    orphanSweepIntervalMs: number;
    ledgerSealIntervalMs: number;
    retentionIntervalMs: number;
  },
): Promise<void> {
  const { taskQueue } = options;
  await ensureSchedule(client, {
    workflowType: 'settleOrphanedJobs',
    taskQueue,
    everyMs: options.orphanSweepIntervalMs,
    summary: 'Ends jobs whose workflow is gone',
  });
  await ensureSchedule(client, {
    workflowType: 'sealLedger',
    taskQueue,
    everyMs: options.ledgerSealIntervalMs,
    summary: 'Seals the new entries of the ledger',
  });
  await ensureSchedule(client, {
    workflowType: 'applyRetention',
    taskQueue,
    everyMs: options.retentionIntervalMs,
    summary: 'Erases what organizations no longer keep',
  });
}

async function ensureSchedule(
  client: Client,
  {
    workflowType,
    taskQueue,
    everyMs,
    summary,
  }: { workflowType: keyof typeof workflows; taskQueue: string; everyMs: number; summary: string },
): Promise<void> {
  // By task queue, so that two installations can share a namespace.
  const name = `${workflowType}:${taskQueue}`;
  const spec = { intervals: [{ every: everyMs }] };
  const action = {
    type: 'startWorkflow',
    workflowType,
    workflowId: name,
    taskQueue,
    args: [] as [],
    // It holds no money, so it may be cut off: the next run starts over.
    workflowRunTimeout: '10 minutes',
    staticSummary: summary,
  } as const;
  const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' } as const;
  try {
    await client.schedule.create({ scheduleId: name, spec, action, policies });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    await client.schedule.getHandle(name).update((present) => ({
      ...present,
      spec,
      action,
      policies: { ...present.policies, ...policies },
    }));
  }
}
