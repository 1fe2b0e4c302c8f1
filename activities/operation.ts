import { setTimeout as pause } from 'node:timers/promises';
import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { TemporalFailure } from '@temporalio/common';
import type { Pool } from 'pg';
import { DatabaseFault } from '../db/faults.ts';
import * as jobs from '../db/jobs.ts';
import { operationKey } from '../domain/ids.ts';
import { type Generation, GenerationFault } from './generation.ts';
import { asBug, withReason } from './reason.ts';

interface JobReference {
  organizationId: string;
  jobId: string;
}

export type Operation = ReturnType<typeof createOperation>;

/** `dropped`: the job had ended before the result came. */
export interface OperationEnd {
  outcome: 'delivered' | 'dropped';
}

const HEARTBEAT_INTERVAL_MS = 1_000;

/** The paid work itself: asks the AI provider and stores what it answered. */
export function createOperation({ pool, generation }: { pool: Pool; generation: Generation }) {
  return {
    /**
     * Safe to run twice: a job with a stored result is not run again; the provider gets the same idempotency key from
     * every attempt; of two attempts that both finish, the first result stays.
     */
    async runOperation(job: JobReference): Promise<OperationEnd> {
      try {
        return await runOnce({ pool, generation }, job);
      } catch (error) {
        throw error instanceof TemporalFailure ? error : asBug('the operation', error);
      }
    },
  };
}

async function runOnce(
  { pool, generation }: { pool: Pool; generation: Generation },
  { organizationId, jobId }: JobReference,
): Promise<OperationEnd> {
  const context = Context.current();
  const job = await withReason('job_to_run', () => jobs.jobToRun(pool, organizationId, jobId));
  if (job === null) throw ApplicationFailure.nonRetryable('There is no such job.', 'JobUnknown');
  if (job.state === 'delivered' || job.state === 'charged') return { outcome: 'delivered' };
  if (job.state !== 'running') return { outcome: 'dropped' };

  const attempt = context.info.attempt;
  const record = (entry: Omit<jobs.Attempt, 'attempt'>) =>
    withReason('record_attempt', () => jobs.recordAttempt(pool, organizationId, jobId, { attempt, ...entry }));
  await record({ outcome: 'started' });

  const heartbeat = setInterval(() => context.heartbeat(), HEARTBEAT_INTERVAL_MS);
  try {
    const answer = await generation.generate({
      feature: job.feature,
      input: job.input,
      idempotencyKey: operationKey(organizationId, jobId),
      abortSignal: context.cancellationSignal,
    });
    const { model, providerRequestId, usage } = answer;
    const stored = await withReason('store_result', () =>
      patiently(() => jobs.storeResult(pool, organizationId, jobId, answer.result, usage), context.cancellationSignal),
    ).catch(async (failure) => {
      // The answer is lost and will be paid for again: what it cost must not be lost too.
      await record({ outcome: 'not_stored', model, providerRequestId, usage }).catch(() => {});
      throw failure;
    });
    const delivered = stored.outcome === 'stored' || stored.outcome === 'delivered';
    await record({
      outcome: stored.outcome === 'stored' ? 'delivered' : 'dropped',
      model,
      providerRequestId,
      usage,
    });
    return { outcome: delivered ? 'delivered' : 'dropped' };
  } catch (error) {
    if (error instanceof GenerationFault) {
      await record({ outcome: error.code, httpStatus: error.httpStatus, usage: error.usage });
      throw asFailure(error);
    }
    if (context.cancellationSignal.aborted) {
      await record({ outcome: 'cancelled' });
      throw asCancellation(context.cancellationSignal.reason);
    }
    throw error;
  } finally {
    clearInterval(heartbeat);
  }
}

/** An answer that is there has been paid for: a database that is away for a moment is waited for before it is given up. */
async function patiently<T>(store: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (const pauseMs of STORE_PAUSES_MS) {
    try {
      return await store();
    } catch (error) {
      if (!(error instanceof DatabaseFault) || signal.aborted) throw error;
      await pause(pauseMs);
    }
  }
  return store();
}

const STORE_PAUSES_MS = [500, 1_000, 2_000];

function asFailure(fault: GenerationFault): ApplicationFailure {
  return ApplicationFailure.create({
    message: fault.message,
    type: fault.code,
    nonRetryable: fault.kind === 'final',
    ...(fault.retryAfterMs === null ? {} : { nextRetryDelay: fault.retryAfterMs }),
  });
}

/** A worker that shuts down has interrupted the work: another attempt does it. A job that was cancelled is over. */
function asCancellation(reason: unknown): Error {
  if (reason instanceof CancelledFailure && reason.message === 'WORKER_SHUTDOWN') {
    return ApplicationFailure.retryable('The worker shut down during the operation.', 'WorkerShutdown');
  }
  return reason instanceof CancelledFailure ? reason : new CancelledFailure('The operation was cancelled.');
}
