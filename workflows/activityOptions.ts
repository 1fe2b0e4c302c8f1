import type { LocalActivityOptions, RetryPolicy } from '@temporalio/workflow';

/** Every time limit and retry of the activities, in one place. Milliseconds. */

/** A worker that dies in mid-operation is noticed after this long. The operation beats every second. */
export const HEARTBEAT_TIMEOUT_MS = 6_000;

/** A provider that asks for more patience (Retry-After) overrides the interval. */
export const OPERATION_RETRY: RetryPolicy = {
  initialInterval: 1_000,
  backoffCoefficient: 2,
  maximumInterval: 20_000,
};

/**
 * A state change of money as a local activity: no round trip through the server when all is well. Bounded, because a
 * local activity that is retried for ever shows nowhere as pending and can block a worker's slots.
 */
export const QUICK_STEP: LocalActivityOptions = {
  scheduleToCloseTimeout: 5_000,
  startToCloseTimeout: 2_500,
  // The count is what bounds it: SDK 1.24 retries a local activity that fails fast past its schedule-to-close timeout.
  retry: { maximumAttempts: 4, initialInterval: 100, backoffCoefficient: 2, maximumInterval: 1_000 },
};

/** The same state change when it did not go quickly: visible as a pending activity with its reason, and never given up. */
export const PATIENT_STEP = {
  startToCloseTimeout: 15_000,
  retry: { initialInterval: 1_000, backoffCoefficient: 2, maximumInterval: 10_000 },
} as const;

export const SWEEP_STEP = {
  startToCloseTimeout: 300_000,
  heartbeatTimeout: 30_000,
  // The Schedule fires again anyway.
  retry: { maximumAttempts: 3 },
} as const;
