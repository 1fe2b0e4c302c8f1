import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { findEndedJobs } from '../db/jobs.ts';

export type JobWaiters = ReturnType<typeof createJobWaiters>;

/**
 * Requests that wait for jobs to end. One query for all of them every `intervalMs`, only while somebody waits, and never
 * two at once: a thousand waiters cost the database what one does. Not LISTEN/NOTIFY, which would take a lock at the
 * commit of every ledger transaction.
 */
export function createJobWaiters(options: { pool: Pool; log: Logger; intervalMs?: number; mostWaiters?: number }) {
  const { pool, log, intervalMs = 100, mostWaiters = 1_000 } = options;
  const waiters = new Set<Waiter>();
  let isLooking = false;
  let isDraining = false;

  /** Runs until nobody waits. */
  async function look(): Promise<void> {
    isLooking = true;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, intervalMs));
      if (waiters.size === 0) break;
      const asked = new Map(
        [...waiters].map(({ organizationId, jobId }) => [`${organizationId}:${jobId}`, { organizationId, jobId }]),
      );
      try {
        const ended = await findEndedJobs(pool, [...asked.values()]);
        const endedKeys = new Set(ended.map(({ organizationId, jobId }) => `${organizationId}:${jobId}`));
        for (const waiter of waiters) if (endedKeys.has(`${waiter.organizationId}:${waiter.jobId}`)) waiter.settle();
      } catch (error) {
        // They go on waiting: the database may be back before their time is over. If not, the read that follows says so.
        log.warn({ waiters: waiters.size, reason: (error as Error).message }, 'could not look for jobs that ended');
      }
    }
    isLooking = false;
  }

  return {
    /**
     * Resolves `over` when the job has ended, when its time is over, when `signal` aborts because the caller left, or when
     * the process drains: look at the job then. `too_many` at once when the process has all the waiters it takes.
     */
    wait(
      job: { organizationId: string; jobId: string },
      { timeoutMs, signal }: { timeoutMs: number; signal: AbortSignal },
    ): Promise<'over' | 'too_many'> {
      if (isDraining || signal.aborted) return Promise.resolve('over');
      if (waiters.size >= mostWaiters) return Promise.resolve('too_many');
      return new Promise((resolve) => {
        const settle = () => {
          waiters.delete(waiter);
          clearTimeout(timer);
          signal.removeEventListener('abort', settle);
          resolve('over');
        };
        const waiter: Waiter = { ...job, settle };
        const timer = setTimeout(settle, timeoutMs);
        signal.addEventListener('abort', settle, { once: true });
        waiters.add(waiter);
        if (!isLooking) void look();
      });
    },

    /** Everybody is answered at once, and from now on nobody waits. */
    drain(): void {
      isDraining = true;
      for (const waiter of waiters) waiter.settle();
    },

    /** How many wait now. */
    size: (): number => waiters.size,
  };
}

interface Waiter {
  organizationId: string;
  jobId: string;
  settle: () => void;
}
