import { ApplicationFailure, proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { OrphanSweep } from '../activities/orphanSweep.ts';
import { SWEEP_STEP } from './activityOptions.ts';

const { sweepOrphanedJobs } = proxyActivities<OrphanSweep>(SWEEP_STEP);

/**
 * Ends jobs whose workflow was terminated, lost or never started: such a workflow runs no code, so somebody else has to
 * look. Started by a Schedule; each run looks at every job past its time.
 */
export async function settleOrphanedJobs(): Promise<{ seen: number; settled: number }> {
  const { seen, settled, failed, reason } = await sweepOrphanedJobs();
  setCurrentDetails(`${seen} jobs were past their time; ${settled} of them had no workflow and were settled.`);
  // A run that shows as failed is what an operator looks for. The next one tries again.
  if (failed > 0)
    throw ApplicationFailure.nonRetryable(`${failed} of ${seen} jobs could not be settled: ${reason}`, 'JobsUnsettled');
  return { seen, settled };
}
