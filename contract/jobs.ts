import { z } from 'zod';
import { FEATURES, type Feature, TOKEN_TYPES, type TokenType } from '../domain/catalog.ts';
import { FEATURE_DEFINITIONS } from '../domain/features/definitions.ts';
import { END_CODES, type EndCode, JOB_STATES, type JobState } from '../domain/jobStates.ts';
import { operation } from './operation.ts';
import { pageQuery } from './page.ts';

/** What `POST /api/v1/jobs` asks for: a feature, and the input that this feature takes. */
export interface JobRequest {
  feature: Feature;
  input: unknown;
}

// One shape per feature, told apart by its name, so that a wrong input is explained by its own feature's fields.
const [firstShape, ...furtherShapes] = FEATURES.map((feature) =>
  z.strictObject({ feature: z.literal(feature), input: FEATURE_DEFINITIONS[feature].input }),
);
export const jobRequest: z.ZodType<JobRequest> = z.discriminatedUnion('feature', [firstShape!, ...furtherShapes]);

export const JOBS_PATH = '/api/v1/jobs';

const links = z.strictObject({ self: z.string(), cancel: z.string() });

export function jobLinks(jobId: string): z.infer<typeof links> {
  return { self: `${JOBS_PATH}/${jobId}`, cancel: `${JOBS_PATH}/${jobId}/cancel` };
}

const instant = z.iso.datetime({ offset: false });
const tokenAmount = z.int().nonnegative();

/** The 202 answer to a new job. A repeat of the request gets the same bytes, whatever has become of the job since. */
export const admittedJob = z
  .strictObject({
    id: z.string(),
    feature: z.enum(FEATURES),
    state: z.literal('admitted'),
    tokenType: z.enum(TOKEN_TYPES),
    tokens: tokenAmount,
    createdAt: instant,
    /** Until when the tokens stay set aside if the work does not begin. */
    holdExpiresAt: instant,
    links,
  })
  .meta({ id: 'AdmittedJob' });
export type AdmittedJob = z.infer<typeof admittedJob>;

/**
 * A job. `result` and `usage` are there only once it is charged; `end` says why it ended without a charge. `inputErasedAt`,
 * `resultErasedAt`: when the organization's retention erased what it was asked, or what it answered: `result` is null then.
 */
export const job = z
  .strictObject({
    id: z.string(),
    feature: z.enum(FEATURES),
    state: z.enum(JOB_STATES),
    tokenType: z.enum(TOKEN_TYPES),
    tokens: tokenAmount,
    debt: tokenAmount,
    result: z.unknown(),
    usage: z.unknown(),
    end: z.nullable(z.strictObject({ code: z.string(), message: z.string() })),
    createdAt: instant,
    beganAt: z.nullable(instant),
    cancelRequestedAt: z.nullable(instant),
    endedAt: z.nullable(instant),
    inputErasedAt: z.nullable(instant),
    resultErasedAt: z.nullable(instant),
    links,
  })
  .meta({ id: 'Job' });
export type Job = z.infer<typeof job>;

/** Newest first. `nextCursor` is null on the last page. */
export const jobList = z
  .strictObject({ jobs: z.array(job), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'JobList' });
export type JobList = z.infer<typeof jobList>;

const LONGEST_WAIT_S = 30;

/** `wait`: answer when the job has ended, or after this many seconds (0s to 30s) with the job as it is then. */
export const jobQuery = z.strictObject({
  wait: z
    .string()
    .regex(/^\d{1,2}s$/, 'must be a whole number of seconds followed by s, for example 20s')
    .transform((text) => Number(text.slice(0, -1)))
    .refine((seconds) => seconds <= LONGEST_WAIT_S, `must be at most ${LONGEST_WAIT_S}s`)
    .transform((seconds) => seconds * 1_000)
    .optional(),
});

/** A cursor belongs to the list that gave it: the same organization, and the same `state` and `feature`. */
export const jobListQuery = z.strictObject({
  ...pageQuery({ most: 100, usual: 20 }),
  state: z.enum(JOB_STATES).optional(),
  feature: z.enum(FEATURES).optional(),
});

/** The stored first answer, as it crosses the wire. */
export function writeAdmittedJob(answer: {
  id: string;
  feature: Feature;
  state: 'admitted';
  tokenType: TokenType;
  tokens: number;
  createdAt: string;
  holdExpiresAt: string;
}): AdmittedJob {
  const { id, feature, state, tokenType, tokens } = answer;
  return {
    id,
    feature,
    state,
    tokenType,
    tokens,
    // The database writes instants in its session's zone.
    createdAt: new Date(answer.createdAt).toISOString(),
    holdExpiresAt: new Date(answer.holdExpiresAt).toISOString(),
    links: jobLinks(id),
  };
}

/** A job, as it crosses the wire. */
export function writeJob(present: {
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
}): Job {
  const { id, feature, state, tokenType, tokens, debt, endCode } = present;
  return {
    id,
    feature,
    state,
    tokenType,
    tokens,
    debt,
    result: present.result ?? null,
    usage: present.usage ?? null,
    end: endCode === null ? null : { code: endCode, message: endMessage(endCode) },
    createdAt: present.createdAt.toISOString(),
    beganAt: present.beganAt?.toISOString() ?? null,
    cancelRequestedAt: present.cancelRequestedAt?.toISOString() ?? null,
    endedAt: present.endedAt?.toISOString() ?? null,
    inputErasedAt: present.inputErasedAt?.toISOString() ?? null,
    resultErasedAt: present.resultErasedAt?.toISOString() ?? null,
    links: jobLinks(id),
  };
}

/** While a new version is rolled out, a job can end with a code that this process does not know yet. */
function endMessage(code: EndCode): string {
  return (END_CODES as Readonly<Record<string, string>>)[code] ?? 'The job ended without a charge.';
}

const mayRead = { role: 'member', scopes: ['jobs:read'], operators: false } as const;
const mayWrite = { role: 'member', scopes: ['jobs:write'], operators: false } as const;

export const startJob = operation({
  id: 'startJob',
  method: 'post',
  path: JOBS_PATH,
  tag: 'Jobs',
  summary: 'Ask for a paid operation',
  description: 'Its tokens are set aside now and charged when its result is stored; work that fails gives them back.',
  access: mayWrite,
  idempotencyKey: 'required',
  body: { schema: jobRequest },
  answers: {
    202: { description: 'Admitted.', schema: admittedJob, headers: ['Location', 'Idempotent-Replayed'] },
  },
  problems: [
    'feature_unknown',
    'tokens_insufficient',
    'feature_not_available',
    'limit_reached',
    'organization_suspended',
    'too_many_jobs',
    'too_many_holds',
    'workflows_unavailable',
  ],
  examples: [
    {
      title: 'A goal',
      body: { feature: 'generate_goal', input: { industry: 'bicycles', horizonMonths: 6 } },
      status: 202,
    },
  ],
});

export const getJob = operation({
  id: 'getJob',
  method: 'get',
  path: `${JOBS_PATH}/{jobId}`,
  tag: 'Jobs',
  summary: 'A job, and its result once it is charged',
  access: mayRead,
  query: jobQuery,
  answers: { 200: { description: 'As it is now, or when the wait was over.', schema: job } },
  problems: ['job_not_found', 'too_many_waiters'],
  examples: [{ title: 'Wait until it has ended', params: { jobId: 'job_1' }, query: { wait: '1s' }, status: 200 }],
});

export const listJobs = operation({
  id: 'listJobs',
  method: 'get',
  path: JOBS_PATH,
  tag: 'Jobs',
  summary: 'Jobs, newest first',
  access: mayRead,
  query: jobListQuery,
  answers: { 200: { description: 'A page.', schema: jobList } },
  problems: [],
  examples: [{ title: 'Those that run', query: { state: 'running', limit: '10' }, status: 200 }],
});

export const cancelJob = operation({
  id: 'cancelJob',
  method: 'post',
  path: `${JOBS_PATH}/{jobId}/cancel`,
  tag: 'Jobs',
  summary: 'Ask a job to end',
  description: 'It is refunded once its work is over, unless it was delivered first. Repeat it as you like.',
  access: mayWrite,
  answers: {
    200: { description: 'Withdrawn before it began: its tokens are back.', schema: job },
    202: { description: 'Asked; read the job to see how it ends.', schema: job },
  },
  problems: ['job_not_found', 'job_already_ended', 'workflows_unavailable'],
  examples: [{ title: 'Cancel', params: { jobId: 'job_1' }, status: 202 }],
});
