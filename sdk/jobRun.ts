import type { AdmittedJob, Job } from '../contract/jobs.ts';
import type { Feature } from '../domain/catalog.ts';
import type { FeatureInput, FeatureOutput } from '../domain/features/definitions.ts';
import { ENDED_JOB_STATES, type EndCode } from '../domain/jobStates.ts';
import { backOffMs, now, orAborted, pause } from './backOff.ts';
import { type CallOptions, type Connection, newIdempotencyKey } from './connection.ts';
import { isTollgateError, TollgateError } from './tollgateError.ts';

const DEFAULT_DEADLINE_MS = 900_000;
const LONGEST_WAIT_S = 20;
const LONGEST_BACK_OFF_MS = 10_000;

export interface JobRuns {
  /**
   * Runs a paid operation and answers its result once it is charged. Tollgate may be restarted meanwhile.
   *
   * Throws TollgateError: what the start is refused with; `job_not_charged`, whose `end` says why; `deadline_passed` after
   * `deadlineMs` (15 minutes unless given): the job goes on, and the same call under the same idempotencyKey takes the waiting up again. An abort asks
   * the job to end, and throws the signal's reason: it is refunded unless it was delivered first.
   */
  run<Of extends Feature>(
    feature: Of,
    input: FeatureInput<Of>,
    options?: Omit<CallOptions, 'reason'>,
  ): Promise<FeatureOutput<Of>>;
  /** The job, once it has ended. An abort ends the waiting and not the job. */
  wait(jobId: string, options?: Pick<CallOptions, 'signal' | 'deadlineMs'>): Promise<Job>;
}

export function createJobRuns(connection: Connection, timeoutMs = 10_000): JobRuns {
  const jobAt = (jobId: string) => `/api/v1/jobs/${encodeURIComponent(jobId)}`;

  async function wait(
    jobId: string,
    {
      signal,
      deadlineMs = DEFAULT_DEADLINE_MS,
    }: { signal?: AbortSignal | undefined; deadlineMs?: number | undefined } = {},
  ): Promise<Job> {
    const giveUpAt = now() + deadlineMs;
    for (let troubles = 0; ; ) {
      const leftMs = giveUpAt - now();
      if (leftMs <= 0) throw deadlinePassed(jobId);
      const waitS = Math.min(LONGEST_WAIT_S, Math.floor(leftMs / 1_000));
      try {
        const { answer: job } = await connection.send<Job>({
          method: 'get',
          path: `${jobAt(jobId)}?wait=${waitS}s`,
          isRepeatable: true,
          timeoutMs: waitS * 1_000 + timeoutMs,
          deadlineMs: leftMs,
          signal,
        });
        if ((ENDED_JOB_STATES as readonly string[]).includes(job.state)) return job;
        troubles = 0;
        // A wait of no seconds answers at once.
        if (waitS === 0) await pause(Math.min(100, Math.max(0, giveUpAt - now())), signal);
      } catch (error) {
        // The job goes on without us: an API that is away is asked again until it is back.
        if (!(error instanceof TollgateError && error.isOutage)) throw error;
        await pause(Math.min(backOffMs(troubles++, 200, LONGEST_BACK_OFF_MS), Math.max(0, giveUpAt - now())), signal);
      }
    }
  }

  async function run<Of extends Feature>(
    feature: Of,
    input: FeatureInput<Of>,
    { idempotencyKey = newIdempotencyKey(), signal, deadlineMs = DEFAULT_DEADLINE_MS }: CallOptions = {},
  ): Promise<FeatureOutput<Of>> {
    signal?.throwIfAborted();
    const giveUpAt = now() + deadlineMs;
    const cancel = (jobId: string) =>
      connection.send({ method: 'post', path: `${jobAt(jobId)}/cancel`, isRepeatable: true });
    const starting = connection.send<AdmittedJob>({
      method: 'post',
      path: '/api/v1/jobs',
      body: { feature, input },
      idempotencyKey,
      isRepeatable: true,
      deadlineMs: Math.min(deadlineMs, 60_000),
    });
    const { answer: started } = await orAborted(starting, signal, ({ answer }) => cancel(answer.id));
    try {
      const job = await wait(started.id, { signal, deadlineMs: giveUpAt - now() });
      if (job.state === 'charged') return job.result as FeatureOutput<Of>;
      throw notCharged(job);
    } catch (error) {
      // Asked before the caller goes on, so that an app that ends on the abort has asked; what it answers changes nothing.
      if (signal?.aborted && !isTollgateError(error)) await cancel(started.id).catch(() => {});
      throw error;
    }
  }

  return { run, wait };
}

function notCharged({ id: jobId, state, end: stored }: Job): TollgateError {
  const end = stored ?? { code: state, message: 'The job ended without a charge.' };
  return new TollgateError({
    code: 'job_not_charged',
    detail: end.message,
    end: end as { code: EndCode; message: string },
    jobId,
  });
}

function deadlinePassed(jobId: string): TollgateError {
  const detail = 'The job has not ended yet. Wait for it with jobs.wait, or ask it to end with jobs.cancel.';
  return new TollgateError({ code: 'deadline_passed', detail, jobId });
}
