import { z } from 'zod';
import { FEATURES, type Feature, TOKEN_TYPES, type TokenType } from '../domain/catalog.ts';
import { FEATURE_DEFINITIONS } from '../domain/features/definitions.ts';
import { END_CODES, type EndCode, JOB_STATES, type JobState } from '../domain/jobStates.ts';
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
export const admittedJob = z.strictObject({
  id: z.string(),
  feature: z.enum(FEATURES),
  state: z.literal('admitted'),
  tokenType: z.enum(TOKEN_TYPES),
  tokens: tokenAmount,
  createdAt: instant,
  /** Until when the tokens stay set aside if the work does not begin. */
  holdExpiresAt: instant,
  links,
});
export type AdmittedJob = z.infer<typeof admittedJob>;

/** A job. `result` and `usage` are there only once it is charged; `end` says why it ended without a charge. */
export const job = z.strictObject({
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
  links,
});
export type Job = z.infer<typeof job>;

/** Newest first. `nextCursor` is null on the last page. */
export const jobList = z.strictObject({ jobs: z.array(job), nextCursor: z.nullable(z.string()) });
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
    links: jobLinks(id),
  };
}

/** While a new version is rolled out, a job can end with a code that this process does not know yet. */
function endMessage(code: EndCode): string {
  return (END_CODES as Readonly<Record<string, string>>)[code] ?? 'The job ended without a charge.';
}
