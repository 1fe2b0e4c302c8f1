/** The life of a job. Each arrow is one SQL function; the database refuses every other (tollgate.check_job_arrow). */
export const JOB_STATES = ['admitted', 'running', 'delivered', 'charged', 'refunded', 'withdrawn', 'refused'] as const;
export type JobState = (typeof JOB_STATES)[number];

/** From a state, by a function, to a state. */
export const JOB_ARROWS = [
  ['admitted', 'begin_job', 'running'],
  ['admitted', 'begin_job', 'refused'],
  ['admitted', 'withdraw_job', 'withdrawn'],
  ['running', 'store_result', 'delivered'],
  ['running', 'refund_job', 'refunded'],
  ['delivered', 'commit_job', 'charged'],
] as const satisfies readonly (readonly [JobState, string, JobState])[];

export const ENDED_JOB_STATES = ['charged', 'refunded', 'withdrawn', 'refused'] as const satisfies readonly JobState[];

export function hasEnded(state: JobState): boolean {
  return (ENDED_JOB_STATES as readonly JobState[]).includes(state);
}

/** Why a job ended without a charge: stored with it and shown to its caller. Sentences, nothing personal. */
export const END_CODES = {
  operation_failed: 'The AI operation failed. The tokens were given back.',
  operation_timed_out: 'The AI operation did not finish within its time budget. The tokens were given back.',
  cancelled: 'The job was cancelled. The tokens were given back.',
  abandoned: 'The workflow ended before the work was delivered. The tokens were given back.',
  start_failed: 'The workflow could not be started. The tokens were given back; send the request again.',
  never_started: 'The workflow was never started. The tokens were given back; send the request again.',
  tokens_insufficient: 'The hold had lapsed before the work began, and the balance no longer covers the job.',
  limit_reached:
    'The hold had lapsed before the work began, and a limit of the organization no longer lets it be taken.',
  too_many_holds: 'The hold had lapsed before the work began, and too many others are open to take it again.',
  organization_suspended: 'The hold had lapsed before the work began, and the organization is suspended.',
} as const;
export type EndCode = keyof typeof END_CODES;
