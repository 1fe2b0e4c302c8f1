import { proxyActivities } from '@temporalio/workflow';
import type { JobReference } from '../../../workflows/runJob.ts';

const { runOperation } = proxyActivities({ startToCloseTimeout: '1 minute' });

/** Deliberately not our workflow: it begins with the work instead of the reservation. Replay must notice. */
export async function runJob(job: JobReference): Promise<void> {
  await runOperation?.(job);
}
