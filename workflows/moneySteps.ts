import { proxyActivities, proxyLocalActivities, TemporalFailure, type UntypedActivities } from '@temporalio/workflow';
import { PATIENT_STEP, QUICK_STEP } from './activityOptions.ts';

/**
 * State changes of money that are tried until they have happened: first as a local activity for a few seconds, then as a
 * normal one without end. Both call the same function of the database, which answers a repeat with the recorded outcome.
 */
export function moneySteps<Steps extends UntypedActivities>(): Steps {
  const quick = proxyLocalActivities<UntypedActivities>(QUICK_STEP);
  const patient = proxyActivities<UntypedActivities>(PATIENT_STEP);
  return new Proxy({} as Steps, {
    get:
      (_, name: string) =>
      async (...ids: unknown[]) => {
        try {
          return await quick[name]!(...ids);
        } catch (failure) {
          // SDK 1.24 hands over the activity's own failure, not one wrapped as an ActivityFailure.
          if (!(failure instanceof TemporalFailure)) throw failure;
          return await patient[name]!(...ids);
        }
      },
  });
}
