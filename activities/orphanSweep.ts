import { Context } from '@temporalio/activity';
import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import { TemporalFailure } from '@temporalio/common';
import type { Pool } from 'pg';
import * as jobs from '../db/jobs.ts';
import { jobWorkflowId } from '../domain/ids.ts';
import { withReason } from './reason.ts';

export type OrphanSweep = ReturnType<typeof createOrphanSweep>;

export interface SweepAnswer {
  seen: number;
  settled: number;
  /** Could not be settled this time; the next sweep tries again. */
  failed: number;
  /** Of the first that failed: the function and the SQLSTATE, nothing of the job's content. */
  reason: string | null;
}

const PAGE = 100;

/** Settles jobs past their time that no workflow will settle any more. */
export function createOrphanSweep({ pool, client }: { pool: Pool; client: Client }) {
  return {
    /**
     * Safe to run twice, and beside a workflow that wakes up after all: each settlement is the same arrow of the job's
     * life that the workflow would take, and only one of two wins it.
     */
    async sweepOrphanedJobs(): Promise<SweepAnswer> {
      let seen = 0;
      let settled = 0;
      let failed = 0;
      let reason: string | null = null;
      let after: jobs.OrphanedJob | null = null;
      for (;;) {
        const page: jobs.OrphanedJob[] = await withReason('find_orphaned_jobs', () =>
          jobs.findOrphanedJobs(pool, { after, limit: PAGE }),
        );
        for (const job of page) {
          Context.current().heartbeat(seen);
          seen += 1;
          // One that cannot be settled must not keep the others waiting: it is told of at the end.
          try {
            if (await hasLiveWorkflow(client, job)) continue;
            await withReason('settling an orphaned job', () => settleByWhatIsStored(pool, job));
            settled += 1;
          } catch (error) {
            failed += 1;
            reason ??=
              error instanceof TemporalFailure ? error.message : 'Temporal could not say whether its workflow lives';
          }
        }
        if (page.length < PAGE) return { seen, settled, failed, reason };
        after = page.at(-1) ?? null;
      }
    },
  };
}

async function hasLiveWorkflow(client: Client, job: jobs.OrphanedJob): Promise<boolean> {
  try {
    const { status } = await client.workflow.getHandle(jobWorkflowId(job.organizationId, job.jobId)).describe();
    return status.name === 'RUNNING' || status.name === 'PAUSED';
  } catch (error) {
    if (error instanceof WorkflowNotFoundError) return false;
    throw error;
  }
}

/** Delivered work is charged, everything else is given back. The state is read by the function that changes it. */
async function settleByWhatIsStored(pool: Pool, job: jobs.OrphanedJob): Promise<void> {
  const { organizationId, jobId } = job;
  const withdrawal = await jobs.withdrawJob(pool, organizationId, jobId, 'never_started');
  if (withdrawal.outcome !== 'job_running') return;
  const refund = await jobs.refundJob(pool, organizationId, jobId, 'abandoned');
  if (refund.outcome === 'job_delivered') await jobs.commitJob(pool, organizationId, jobId);
}
