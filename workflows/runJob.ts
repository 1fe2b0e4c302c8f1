import {
  ActivityCancellationType,
  ActivityFailure,
  CancellationScope,
  isCancellation,
  proxyActivities,
  setCurrentDetails,
  TimeoutFailure,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { JobSteps } from '../activities/jobSteps.ts';
import type { Operation } from '../activities/operation.ts';
import type { EndCode } from '../domain/jobStates.ts';
import { HEARTBEAT_TIMEOUT_MS, OPERATION_RETRY } from './activityOptions.ts';
import { moneySteps } from './moneySteps.ts';

/** Which job: ids only, everything else is read where it is needed. */
export interface JobReference {
  organizationId: string;
  jobId: string;
}

/** How a job ended. */
export type JobEnd =
  | { state: 'charged'; tokens: number; debt: number }
  /** It never ran: refused when it was to begin, or withdrawn or settled from outside before. */
  | { state: 'refused' | 'withdrawn' | 'refunded'; code: string };

const { beginJob, commitJob, refundJob } = moneySteps<JobSteps>();

/**
 * Runs one paid AI operation: sets the tokens aside, runs the work, charges it or gives the tokens back.
 *
 * A cancellation may land on the work and nowhere else. A cancelled root scope would skip every later activity, the charge
 * and the refund included: hence the two shields.
 */
export async function runJob(job: JobReference): Promise<JobEnd> {
  const hold = await CancellationScope.nonCancellable(() => beginJob(job));
  if (hold.outcome !== 'held') return refusal(hold);

  setCurrentDetails(`${hold.tokens} tokens are set aside. ${hold.feature} is running.`);
  const work = await attempt(job, hold.timeBudgetMs);
  return CancellationScope.nonCancellable(() => settle(job, work));
}

type Work = { outcome: 'delivered' } | { outcome: 'undelivered'; code: EndCode };

async function attempt(job: JobReference, timeBudgetMs: number): Promise<Work> {
  const { runOperation } = proxyActivities<Operation>({
    scheduleToCloseTimeout: timeBudgetMs,
    // A provider that hangs leaves time for another attempt.
    startToCloseTimeout: Math.ceil((timeBudgetMs * 2) / 3),
    heartbeatTimeout: HEARTBEAT_TIMEOUT_MS,
    retry: OPERATION_RETRY,
    // Otherwise the refund could run while the call still does.
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  });
  try {
    const { outcome } = await runOperation(job);
    // Dropped: the job had been settled from outside before its result came. Settling again answers what it came to.
    return outcome === 'delivered' ? { outcome } : { outcome: 'undelivered', code: 'abandoned' };
  } catch (failure) {
    return { outcome: 'undelivered', code: whyUndelivered(failure) };
  }
}

function whyUndelivered(failure: unknown): EndCode {
  // A worker that dies after the cancellation was asked for leaves a time-out, and the job was cancelled all the same.
  if (isCancellation(failure) || CancellationScope.current().consideredCancelled) return 'cancelled';
  if (!(failure instanceof ActivityFailure)) throw failure;
  return failure.cause instanceof TimeoutFailure ? 'operation_timed_out' : 'operation_failed';
}

async function settle(job: JobReference, work: Work): Promise<JobEnd> {
  if (work.outcome === 'delivered') return charge(job);

  setCurrentDetails('The work was not delivered. The tokens are being given back.');
  const refund = await refundJob(job, work.code);
  // A result was stored after all, by an attempt whose answer was lost: delivered work is charged.
  if (refund.outcome === 'job_delivered') return charge(job);
  if (refund.outcome !== 'refunded') throw new Error(`refund_job answered ${refund.outcome}`);
  // As it is recorded, which a repeat may find otherwise. Histories of before it was answered have none.
  const code = refund.code ?? work.code;
  return ended(`The tokens were given back (${code}).`, { state: 'refunded', code });
}

async function charge(job: JobReference): Promise<JobEnd> {
  setCurrentDetails('The work is delivered. The tokens are being charged.');
  const charge = await commitJob(job);
  if (charge.outcome !== 'charged') throw new Error(`commit_job answered ${charge.outcome}`);
  const owing = charge.debt > 0 ? ` ${charge.debt} of them are owed.` : '';
  return ended(`${charge.tokens} tokens were charged.${owing}`, {
    state: 'charged',
    tokens: charge.tokens ?? 0,
    debt: charge.debt,
  });
}

function refusal(hold: Exclude<Awaited<ReturnType<typeof beginJob>>, { outcome: 'held' }>): JobEnd {
  // The API starts a workflow only for a job that it admitted.
  if (hold.outcome === 'job_unknown') throw new Error('begin_job does not know this job');
  return ended(`The job was not begun (${hold.code}). No tokens are held.`, {
    // Histories of before it was answered have none.
    state: hold.state ?? 'refused',
    code: hold.code,
  });
}

function ended(details: string, end: JobEnd): JobEnd {
  setCurrentDetails(details);
  // Each change of a search attribute is an event of history: once, at the end.
  upsertSearchAttributes({ JobState: [end.state] });
  return end;
}
