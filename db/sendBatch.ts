import { setTimeout as pause } from 'node:timers/promises';
import { DatabaseFault } from './faults.ts';
import type { Call } from './lane.ts';

/** Together about a second and a half: a server that was killed is back by then, and a caller still waits. */
const REPEATS = 4;
const FIRST_PAUSE_MS = 100;
/** For a server that is silent instead of away, where a single try takes as long as a statement may. */
const PATIENCE_MS = 5_000;

/**
 * Sends the rows of these calls as one statement and tells every waiter his row's answer. Never rejects; answers the fault
 * if the database was away.
 *
 * A statement that fails of itself did nothing: a row in it is one that nobody foresaw. Its halves are sent one after the
 * other, in the order of the calls, until that row stands alone and gets the error alone (1 of 256: 16 more statements).
 */
export async function sendBatch<Verb>(
  send: (rows: readonly unknown[]) => Promise<unknown[]>,
  calls: readonly Call<Verb>[],
): Promise<DatabaseFault | null> {
  let answers: unknown[];
  try {
    answers = await untilFateIsKnown(() => send(calls.map(({ row }) => row)));
    if (answers.length !== calls.length) throw new Error(`${answers.length} answers to ${calls.length} rows`);
  } catch (error) {
    if (error instanceof DatabaseFault) return fail(calls, error);
    if (calls.length === 1) {
      fail(calls, error);
      return null;
    }
    const [first, second] = [calls.slice(0, calls.length >> 1), calls.slice(calls.length >> 1)];
    const fault = await sendBatch(send, first);
    // Away for the first half is away for the second: its callers need not wait for that again.
    return fault === null ? sendBatch(send, second) : fail(second, fault);
  }
  for (const [n, { waiters }] of calls.entries()) for (const { resolve } of waiters) resolve(answers[n]);
  return null;
}

function fail<T>(calls: readonly Call<unknown>[], error: T): T {
  for (const { waiters } of calls) for (const { reject } of waiters) reject(error);
  return error;
}

/**
 * A connection that is lost after the statement was sent tells nothing of what became of it. The same rows under the same
 * ids answer what was recorded, or do it now. Should the first try still wait at the server for a balance, it waits before
 * the repeat, and whichever comes second finds what the other did. Once in doubt, a database that cannot be reached leaves
 * it in doubt.
 */
async function untilFateIsKnown<T>(run: () => Promise<T>): Promise<T> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  let isInDoubt = false;
  for (let repeat = 0; ; repeat++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof DatabaseFault)) throw error;
      isInDoubt ||= error.isInDoubt;
      if (!isInDoubt || repeat === REPEATS || performance.now() > giveUpAt) throw error;
      await pause(FIRST_PAUSE_MS * 2 ** repeat * (0.5 + Math.random() / 2));
    }
  }
}
