import type { Pool } from 'pg';
import { captureHolds, extendHolds, growHolds, holdTokens, releaseHolds } from './holds.ts';
import { createLane, type Lane } from './lane.ts';
import { sendBatch } from './sendBatch.ts';
import { checkTokens } from './tokens.ts';

/**
 * What can be called, and the array function of this room that does it. A verb is added by its line here. The equal rows of a
 * read that wait together are one row of its statement (`isRead`).
 */
const VERBS = {
  hold: { send: holdTokens, isRead: false },
  capture: { send: captureHolds, isRead: false },
  release: { send: releaseHolds, isRead: false },
  extend: { send: extendHolds, isRead: false },
  grow: { send: growHolds, isRead: false },
  check: { send: checkTokens, isRead: true },
} as const;

type Verb = keyof typeof VERBS;
type RowOf<V extends Verb> = Parameters<(typeof VERBS)[V]['send']>[1][number];
type AnswerOf<V extends Verb> = Awaited<ReturnType<(typeof VERBS)[V]['send']>>[number];
type Calls = { [V in Verb]: (row: RowOf<V>) => Promise<AnswerOf<V>> };

/**
 * Single calls of the ledger, sent together. A call goes at once when its lane is idle; while a statement is in flight the
 * next ones collect, without a timer. Organizations are spread over the lanes; a lane has one statement in flight, because
 * a second one slows a hot balance.
 *
 * - Calls of this process for one hold take effect in the order in which they were called, whatever their verbs, and
 *   whether or not the one before succeeded. Nothing is promised between holds, nor between processes.
 * - Verbs take turns: one that waits is overtaken by each other verb once at most, a full batch at a time.
 * - A call that makes a statement fail gets the error alone; the others are done.
 * - A statement whose answer was lost is repeated under the same ids. So `isRepeat` means "was recorded before this answer
 *   was made", perhaps by this call's own first try, and an outcome with it is as good as the first: whoever counts it as a
 *   refusal loses holds. It is what a client meets whose own connection broke.
 * - A check is answered by a statement that began after the call, so it knows everything that was answered before.
 *
 * Each rejects with DatabaseFault (its fate is unknown, a repeat under the same ids is safe), with LedgerBusy (nothing
 * was done) or with the error of a bug.
 */
export interface Coalescer extends Calls {
  /** Refuses what waits, and every later call, with LedgerBusy; resolves when what is in flight has been answered. */
  close(): Promise<void>;
}

/** The call was not sent, and nothing was done: too many wait already, or the process ends. Try again a little later. */
export class LedgerBusy extends Error {
  override readonly name = 'LedgerBusy';
}

export function createCoalescer(
  pool: Pool,
  {
    maxBatch = 256,
    maxQueued = 10_000,
    lanes: laneCount = 2,
  }: {
    /** Rows in a statement. */ maxBatch?: number /** Calls that wait, in all lanes. */;
    maxQueued?: number;
    lanes?: number;
  } = {},
): Coalescer {
  const lanes = Array.from({ length: laneCount }, () =>
    createLane<Verb>({
      maxBatch,
      // Each lane keeps the rows of a verb together, so they are what the verb's function takes.
      send: (verb, calls) => sendBatch((rows) => VERBS[verb].send(pool, rows as never), calls),
    }),
  );
  let isClosed = false;

  function refusal(): string | null {
    if (isClosed) return 'The process ends and takes no more calls.';
    const queued = lanes.reduce((sum, lane) => sum + lane.waiting(), 0);
    return queued < maxQueued ? null : `${queued} calls are waiting for the ledger already.`;
  }

  function call<V extends Verb>(verb: V, row: RowOf<V>): Promise<AnswerOf<V>> {
    return new Promise((resolve, reject) => {
      const refused = refusal();
      if (refused !== null) {
        reject(new LedgerBusy(refused));
        return;
      }
      const { organizationId } = row;
      laneOf(lanes, organizationId).add({
        verb,
        row,
        orderKey: 'holdId' in row ? JSON.stringify([organizationId, row.holdId]) : null,
        // With the names in it: two rows with the same words in other places are not equal.
        shareKey: VERBS[verb].isRead ? JSON.stringify([verb, row]) : null,
        waiters: [{ resolve: resolve as (answer: unknown) => void, reject }],
      });
    });
  }

  return {
    hold: (row) => call('hold', row),
    capture: (row) => call('capture', row),
    release: (row) => call('release', row),
    extend: (row) => call('extend', row),
    grow: (row) => call('grow', row),
    check: (row) => call('check', row),
    async close() {
      isClosed = true;
      await Promise.all(lanes.map((lane) => lane.close(new LedgerBusy('The process ended before the call was sent.'))));
    },
  };
}

/** An organization's lane, always the same one (FNV-1a: it must spread well, and costs less than a microsecond). */
function laneOf(lanes: readonly Lane<Verb>[], organizationId: string): Lane<Verb> {
  let hash = 0x811c9dc5;
  for (let n = 0; n < organizationId.length; n++) hash = Math.imul(hash ^ organizationId.charCodeAt(n), 0x01000193);
  // The lowest bit alone is only the parity of the characters.
  return lanes[((hash ^ (hash >>> 15)) >>> 0) % lanes.length]!;
}
