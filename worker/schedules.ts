import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { settleOrphanedJobs } from '../workflows/settleOrphanedJobs.ts';

/** Makes the Schedules that the engine needs, or brings existing ones up to this code. Pausing one by hand stays paused. */
export async function ensureSchedules(
  client: Client,
  options: { taskQueue: string; orphanSweepIntervalMs: number },
): Promise<void> {
  // By task queue, so that two installations can share a namespace.
  const name = `settleOrphanedJobs:${options.taskQueue}`;
  const spec = { intervals: [{ every: options.orphanSweepIntervalMs }] };
  const action = {
    type: 'startWorkflow',
    workflowType: 'settleOrphanedJobs',
    taskQueue: options.taskQueue,
    args: [] as [],
    // It holds no money, so it may be cut off: the next run starts over.
    workflowRunTimeout: '10 minutes',
    staticSummary: 'Ends jobs whose workflow is gone',
  } as const;
  const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' } as const;
  try {
    await client.schedule.create<typeof settleOrphanedJobs>({
      scheduleId: name,
      spec,
      action: { ...action, workflowId: name },
      policies,
    });
  } catch (error) {
    if (!(error instanceof ScheduleAlreadyRunning)) throw error;
    await client.schedule.getHandle(name).update<typeof settleOrphanedJobs>((present) => ({
      ...present,
      spec,
      action: { ...action, workflowId: name },
      policies: { ...present.policies, ...policies },
    }));
  }
}
