import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { JobRequest } from '../contract/jobs.ts';
import { type AdmissionAnswer, admitJob, withdrawJob } from '../db/jobs.ts';
import type { TokenType } from '../domain/catalog.ts';
import type { JobWorkflows } from './jobWorkflows.ts';
import { reasonOf } from './reasonOf.ts';

export type AdmissionReply =
  | { outcome: 'accepted'; isRepeat: boolean; answer: AdmissionAnswer }
  | { outcome: 'tokens_insufficient'; required: number; available: number; tokenType: TokenType }
  | { outcome: 'not_a_member' | 'key_reused' | 'feature_unknown' }
  | {
      outcome:
        | 'organization_suspended'
        | 'feature_not_available'
        | 'too_many_jobs'
        | 'too_many_holds'
        | 'limit_reached';
    }
  | { outcome: 'not_started' };

/**
 * Takes a job in: sets the tokens aside, then starts its workflow. Throws DatabaseFault; repeating the request under its
 * Idempotency-Key is safe at every point, whatever was interrupted.
 *
 * A start that failed or is in doubt is taken back in the database, where exactly one of *running* and *withdrawn* wins,
 * and the caller is told which. So `not_started` means: this job will not run, and holds nothing. A workflow that started
 * all the same finds the job withdrawn and ends.
 */
export async function takeJob(
  { pool, workflows, bounds, log }: AdmissionDependencies,
  { organizationId, principal, request, idempotencyKey, requestHash }: JobToTake,
): Promise<AdmissionReply> {
  const admission = await admitJob(pool, {
    organizationId,
    principal,
    jobId: randomUUID(),
    ...request,
    idempotencyKey,
    requestHash,
    ...bounds,
  });
  switch (admission.outcome) {
    case 'admitted':
      break;
    case 'tokens_insufficient':
      return {
        outcome: 'tokens_insufficient',
        required: admission.tokens!,
        available: admission.available!,
        tokenType: admission.tokenType!,
      };
    case 'id_invalid':
    case 'id_reused':
      throw new Error(`admit_job answered ${admission.outcome} to a new UUID`);
    case 'not_a_member':
    case 'key_reused':
    case 'organization_suspended':
    case 'feature_unknown':
    case 'feature_not_available':
    case 'too_many_jobs':
    case 'too_many_holds':
    case 'limit_reached':
      return { outcome: admission.outcome };
    default:
      throw new Error(`admit_job answered ${(admission as { outcome: string }).outcome}`);
  }

  const { jobId, answer, isRepeat } = admission;
  const accepted = { outcome: 'accepted', isRepeat, answer } as const;
  // On a repeat too: the process that admitted the job may have died before the start.
  if (admission.state !== 'admitted') return accepted;
  try {
    await workflows.start({ organizationId, jobId, ...answer });
    return accepted;
  } catch (error) {
    log.warn({ organizationId, jobId, reason: reasonOf(error) }, 'the start of a workflow failed or is in doubt');
  }
  const withdrawal = await withdrawJob(pool, organizationId, jobId, 'start_failed');
  if (withdrawal.outcome === 'job_unknown') throw new Error('withdraw_job does not know a job that was just admitted');
  return withdrawal.outcome === 'withdrawn' ? { outcome: 'not_started' } : accepted;
}

export interface JobToTake {
  organizationId: string;
  principal: string;
  request: JobRequest;
  idempotencyKey: string;
  requestHash: Buffer;
}

export interface AdmissionDependencies {
  pool: Pool;
  workflows: JobWorkflows;
  bounds: { holdLifetimeMs: number; timeBudgetMs: number };
  log: Logger;
}
