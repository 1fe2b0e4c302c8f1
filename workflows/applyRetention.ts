import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { ErasureAnswer, RetentionSteps } from '../activities/retention.ts';
import { SWEEP_STEP } from './activityOptions.ts';

const { eraseWhatIsOver } = proxyActivities<RetentionSteps>(SWEEP_STEP);

/** Erases prompts, results and idempotency records that organizations no longer keep, until nothing is left. Started by a Schedule. */
export async function applyRetention(): Promise<ErasureAnswer> {
  const erased = await eraseWhatIsOver();
  const { organizations, inputs, results, records } = erased;
  setCurrentDetails(
    `Of ${organizations} organizations, ${inputs} prompts, ${results} results and ${records} idempotency records were erased.`,
  );
  return erased;
}
