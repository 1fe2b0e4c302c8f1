import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { findJob, type Job, requestCancellation, withdrawJob } from '../db/jobs.ts';
import { hasEnded } from '../domain/jobStates.ts';
import type { JobWorkflows } from './jobWorkflows.ts';

export type CancellationReply =
  /** The job had not begun and now never will. */
  | { outcome: 'withdrawn'; job: Job }
  /** Noted; the workflow ends the work and gives the tokens back, unless the work is delivered before. */
  | { outcome: 'asked'; job: Job }
  | { outcome: 'job_unknown' | 'job_ended' | 'not_asked' };

/**
 * Cancels a job. Before the work has begun that is one step in the database; afterwards it is a request to the workflow,
 * since only the workflow knows when the work is over. Safe to repeat. Throws DatabaseFault.
 */
export async function cancelJob(
  { pool, workflows, log }: { pool: Pool; workflows: JobWorkflows; log: Logger },
  organizationId: string,
  jobId: string,
): Promise<CancellationReply> {
  const job = await findJob(pool, organizationId, jobId);
  if (job === null) return { outcome: 'job_unknown' };
  if (hasEnded(job.state)) return { outcome: 'job_ended' };

  const { outcome } = await withdrawJob(pool, organizationId, jobId, 'cancelled');
  if (outcome === 'withdrawn') return { outcome, job: await present(pool, organizationId, jobId) };
  if (outcome !== 'job_running') return { outcome };

  if ((await requestCancellation(pool, organizationId, jobId)) === null) return { outcome: 'job_ended' };
  try {
    const answer = await workflows.cancel(organizationId, jobId);
    // Its workflow is gone, terminated for example: the sweep settles the job by what is stored.
    if (answer === 'not_open') log.warn({ organizationId, jobId }, 'a job to cancel has no open workflow');
  } catch (error) {
    log.warn({ organizationId, jobId, reason: (error as Error).message }, 'a workflow could not be asked to cancel');
    return { outcome: 'not_asked' };
  }
  return { outcome: 'asked', job: await present(pool, organizationId, jobId) };
}

async function present(pool: Pool, organizationId: string, jobId: string): Promise<Job> {
  const job = await findJob(pool, organizationId, jobId);
  if (job === null) throw new Error('a job vanished');
  return job;
}
