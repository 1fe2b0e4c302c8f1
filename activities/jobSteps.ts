import type { Pool } from 'pg';
import * as jobs from '../db/jobs.ts';
import type { EndCode } from '../domain/jobStates.ts';
import { withReason } from './reason.ts';

interface JobReference {
  organizationId: string;
  jobId: string;
}

export type JobSteps = ReturnType<typeof createJobSteps>;

/** The money steps of a job: one function of the database each. */
export function createJobSteps({ pool }: { pool: Pool }) {
  return {
    /** Safe to run twice: a job that is running already answers `held` again and nothing moves. */
    beginJob: ({ organizationId, jobId }: JobReference): Promise<jobs.Beginning> =>
      withReason('begin_job', () => jobs.beginJob(pool, organizationId, jobId)),

    /** Safe to run twice: a charged job answers its recorded charge. */
    commitJob: ({ organizationId, jobId }: JobReference): Promise<jobs.Commitment> =>
      withReason('commit_job', () => jobs.commitJob(pool, organizationId, jobId)),

    /** Safe to run twice: a refunded job answers its recorded refund, a delivered one refuses. */
    refundJob: ({ organizationId, jobId }: JobReference, code: EndCode): Promise<jobs.Refund> =>
      withReason('refund_job', () => jobs.refundJob(pool, organizationId, jobId, code)),
  };
}
