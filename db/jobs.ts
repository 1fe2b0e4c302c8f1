import type { Pool } from 'pg';
import type { Feature, TokenType } from '../domain/catalog.ts';
import type { EndCode, JobState } from '../domain/jobStates.ts';
import type { AdmissionRefusal } from '../domain/refusals.ts';
import { call } from './faults.ts';
import { readAs } from './tenant.ts';

/** The first answer to a job's request, stored with the admission and replayed word for word. Times are ISO 8601. */
export interface AdmissionAnswer {
  id: string;
  feature: Feature;
  state: 'admitted';
  tokenType: TokenType;
  tokens: number;
  createdAt: string;
  holdExpiresAt: string;
}

export type Admission =
  | { outcome: 'admitted'; isRepeat: boolean; jobId: string; answer: AdmissionAnswer; state: JobState }
  | { outcome: AdmissionRefusal; tokenType: TokenType | null; tokens: number | null; available: number | null };

/** Arrow – → admitted. See migrations/functions/admit_job.sql. Throws DatabaseFault; repeating it is safe. */
export async function admitJob(
  pool: Pool,
  job: {
    organizationId: string;
    principal: string;
    jobId: string;
    feature: string;
    input: unknown;
    idempotencyKey: string;
    requestHash: Buffer;
    holdLifetimeMs: number;
    timeBudgetMs: number;
  },
): Promise<Admission> {
  const row = await one(
    pool,
    'select * from tollgate.admit_job($1, $2, $3, $4, $5, $6, $7, $8::interval, $9::interval)',
    [
      job.organizationId,
      job.principal,
      job.jobId,
      job.feature,
      JSON.stringify(job.input),
      job.idempotencyKey,
      job.requestHash,
      `${job.holdLifetimeMs} milliseconds`,
      `${job.timeBudgetMs} milliseconds`,
    ],
  );
  return row.outcome === 'admitted'
    ? { outcome: 'admitted', isRepeat: row.is_repeat, jobId: row.job_id, answer: row.answer, state: row.state }
    : { outcome: row.outcome, tokenType: row.token_type, tokens: row.tokens, available: row.available };
}

export type Beginning =
  | { outcome: 'held'; feature: Feature; tokens: number; timeBudgetMs: number }
  | { outcome: 'refused'; state: 'refused' | 'withdrawn' | 'refunded'; code: string }
  | { outcome: 'job_unknown' };

/** Arrow admitted → running (or refused). See migrations/functions/begin_job.sql. */
export async function beginJob(pool: Pool, organizationId: string, jobId: string): Promise<Beginning> {
  const row = await one(pool, 'select * from tollgate.begin_job($1, $2)', [organizationId, jobId]);
  if (row.outcome === 'held') {
    return { outcome: 'held', feature: row.feature, tokens: row.tokens, timeBudgetMs: row.time_budget_ms };
  }
  return row.outcome === 'refused'
    ? { outcome: 'refused', state: row.state, code: row.code }
    : { outcome: 'job_unknown' };
}

export interface Withdrawal {
  outcome: 'withdrawn' | 'job_running' | 'job_ended' | 'job_unknown';
  isRepeat: boolean;
  state: JobState | null;
}

/** Arrow admitted → withdrawn. See migrations/functions/withdraw_job.sql. */
export async function withdrawJob(
  pool: Pool,
  organizationId: string,
  jobId: string,
  code: Extract<EndCode, 'start_failed' | 'never_started' | 'cancelled'>,
): Promise<Withdrawal> {
  const row = await one(pool, 'select * from tollgate.withdraw_job($1, $2, $3)', [organizationId, jobId, code]);
  return { outcome: row.outcome, isRepeat: row.is_repeat, state: row.state };
}

export interface Storage {
  outcome: 'stored' | 'delivered' | 'refused' | 'job_unknown';
  state: JobState | null;
}

/** Arrow running → delivered. See migrations/functions/store_result.sql. */
export async function storeResult(
  pool: Pool,
  organizationId: string,
  jobId: string,
  result: unknown,
  usage: unknown,
): Promise<Storage> {
  return await one(pool, 'select * from tollgate.store_result($1, $2, $3, $4)', [
    organizationId,
    jobId,
    JSON.stringify(result),
    JSON.stringify(usage),
  ]);
}

export interface Commitment {
  outcome: 'charged' | 'not_delivered' | 'job_refunded' | 'job_ended' | 'job_unknown';
  isRepeat: boolean;
  tokens: number | null;
  debt: number;
}

/** Arrow delivered → charged. See migrations/functions/commit_job.sql. */
export async function commitJob(pool: Pool, organizationId: string, jobId: string): Promise<Commitment> {
  const row = await one(pool, 'select * from tollgate.commit_job($1, $2)', [organizationId, jobId]);
  return { outcome: row.outcome, isRepeat: row.is_repeat, tokens: row.tokens, debt: row.debt };
}

export interface Refund {
  outcome: 'refunded' | 'job_delivered' | 'not_running' | 'job_ended' | 'job_unknown';
  isRepeat: boolean;
  tokens: number | null;
  /** Why, as it is recorded: a repeat for another reason changes nothing. */
  code: EndCode | null;
}

/** Arrow running → refunded. See migrations/functions/refund_job.sql. */
export async function refundJob(pool: Pool, organizationId: string, jobId: string, code: EndCode): Promise<Refund> {
  const row = await one(pool, 'select * from tollgate.refund_job($1, $2, $3)', [organizationId, jobId, code]);
  return { outcome: row.outcome, isRepeat: row.is_repeat, tokens: row.tokens, code: row.code };
}

/** Notes that somebody asked for a cancellation; answers the state, or null when the job is unknown or has ended. */
export async function requestCancellation(pool: Pool, organizationId: string, jobId: string): Promise<JobState | null> {
  const { rows } = await call(() =>
    pool.query('select r.state from tollgate.request_cancellation($1, $2) r', [organizationId, jobId]),
  );
  return rows[0]?.state ?? null;
}

/** What the operation needs to know of its job; null when there is no such job. */
export async function jobToRun(
  pool: Pool,
  organizationId: string,
  jobId: string,
): Promise<{ state: JobState; feature: Feature; input: unknown } | null> {
  const { rows } = await call(() => pool.query('select * from tollgate.job_to_run($1, $2)', [organizationId, jobId]));
  return rows[0] ?? null;
}

export interface Attempt {
  attempt: number;
  outcome: string;
  model?: string | null;
  providerRequestId?: string | null;
  httpStatus?: number | null;
  usage?: unknown;
}

/** Books one call to the AI provider. See migrations/functions/record_attempt.sql. */
export async function recordAttempt(
  pool: Pool,
  organizationId: string,
  jobId: string,
  attempt: Attempt,
): Promise<void> {
  await call(() =>
    pool.query('select tollgate.record_attempt($1, $2, $3, $4, $5, $6, $7, $8)', [
      organizationId,
      jobId,
      attempt.attempt,
      attempt.outcome,
      attempt.model ?? null,
      attempt.providerRequestId ?? null,
      attempt.httpStatus ?? null,
      attempt.usage == null ? null : JSON.stringify(attempt.usage),
    ]),
  );
}

export interface OrphanedJob {
  organizationId: string;
  jobId: string;
  state: JobState;
  createdAt: Date;
}

/** Jobs that should have ended by now, oldest first, after the given one. */
export async function findOrphanedJobs(
  pool: Pool,
  page: { after: OrphanedJob | null; limit: number },
): Promise<OrphanedJob[]> {
  const { rows } = await call(() =>
    pool.query(
      `select o.organization_id as "organizationId", o.job_id as "jobId", o.state, o.created_at as "createdAt"
         from tollgate.find_orphaned_jobs($1, $2, $3) o`,
      [page.after?.createdAt ?? '-infinity', page.after?.jobId ?? '', page.limit],
    ),
  );
  return rows;
}

/** A job as its organization may see it. The result is there only once the job is charged, and until it is erased. */
export interface Job {
  id: string;
  feature: Feature;
  state: JobState;
  tokenType: TokenType;
  tokens: number;
  debt: number;
  endCode: EndCode | null;
  result: unknown;
  usage: unknown;
  createdAt: Date;
  beganAt: Date | null;
  cancelRequestedAt: Date | null;
  endedAt: Date | null;
  inputErasedAt: Date | null;
  resultErasedAt: Date | null;
}

const JOB_COLUMNS = `
  j.id, j.feature, j.state, j.token_type as "tokenType", j.tokens, j.debt, j.end_code as "endCode",
  case when j.state = 'charged' then j.result end as result,
  case when j.state = 'charged' then j.usage end as usage,
  j.created_at as "createdAt", j.began_at as "beganAt", j.cancel_requested_at as "cancelRequestedAt",
  j.ended_at as "endedAt", j.input_erased_at as "inputErasedAt", j.result_erased_at as "resultErasedAt"`;

export function findJob(pool: Pool, organizationId: string, jobId: string): Promise<Job | null> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query<Job>(
      `select ${JOB_COLUMNS} from tollgate.jobs j where j.organization_id = $1 and j.id = $2`,
      [organizationId, jobId],
    );
    return rows[0] ?? null;
  });
}

/** Newest first. `before` is the last job of the page before. */
export function listJobs(
  pool: Pool,
  organizationId: string,
  page: { limit: number; before: { createdAt: Date; id: string } | null; state?: JobState; feature?: Feature },
): Promise<Job[]> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query<Job>(
      `select ${JOB_COLUMNS}
         from tollgate.jobs j
        where j.organization_id = $1
          and ($2::timestamptz is null
               or (j.created_at, j.id) < (coalesce((select b.created_at from tollgate.jobs b
                                                     where b.organization_id = $1 and b.id = $3), $2), $3))
          and ($4::text is null or j.state = $4)
          and ($5::text is null or j.feature = $5)
        order by j.created_at desc, j.id desc
        limit $6`,
      [
        organizationId,
        page.before?.createdAt ?? null,
        page.before?.id ?? null,
        page.state ?? null,
        page.feature ?? null,
        page.limit,
      ],
    );
    return rows;
  });
}

/** Which of these jobs have ended: one statement for all who wait in this process. */
export function findEndedJobs(
  pool: Pool,
  jobs: readonly { organizationId: string; jobId: string }[],
): Promise<{ organizationId: string; jobId: string }[]> {
  const organizationIds = jobs.map((job) => job.organizationId);
  return readAs(pool, [...new Set(organizationIds)], async (client) => {
    const { rows } = await client.query(
      `select j.organization_id as "organizationId", j.id as "jobId"
         from unnest($1::text[], $2::text[]) as w (organization_id, id)
         join tollgate.jobs j on j.organization_id = w.organization_id and j.id = w.id
        where j.ended_at is not null`,
      [organizationIds, jobs.map((job) => job.jobId)],
    );
    return rows;
  });
}

// biome-ignore lint/suspicious/noExplicitAny: a function's row; each caller names its columns one line further
async function one(pool: Pool, text: string, values: unknown[]): Promise<any> {
  const { rows } = await call(() => pool.query(text, values));
  return rows[0];
}
