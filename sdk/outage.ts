import type { Feature } from '../domain/catalog.ts';
import { backOffMs, laterUnheld } from './backOff.ts';
import type { Connection } from './connection.ts';
import { createMemoryQueue, type OutageQueue, type QueuedUse, type RefusedUse } from './outageQueue.ts';
import { TollgateError } from './tollgateError.ts';
import { chargeUse } from './useCharge.ts';

/**
 * What to do with work of `withTokens` when Tollgate cannot be reached: when the network fails, time runs out, or the answer is a
 * 503 (of a proxy: 502 or 504) after all repeats. Never when it answers 4xx.
 *
 * `closed`, which is so unless said otherwise: the work is not begun, and the call throws.
 *
 * `open`: the work runs unpaid; what it used waits in the queue and is charged later. What that risks: tokens are given to whoever asks while the
 * outage lasts, also to an organization that has none, or that Tollgate would refuse for its plan, a limit, a cap or a suspension of which
 * this client has not heard. Whoever was refused when this client last got an answer stays out, for that feature; for a suspension,
 * and for credentials that are none, for all. A client that has just started has heard of nothing. What cannot be charged
 * afterwards is kept as refused, and nobody has paid it.
 */
export type WhenUnreachable = Partial<Record<Feature, 'open' | 'closed'>>;

/** What is told of an outage. What the callback throws is not heard of: it must not undo work that is done. */
export type OutageEvent =
  | { kind: 'opened'; feature: Feature; error: TollgateError }
  | { kind: 'queued'; use: QueuedUse }
  | { kind: 'charged'; use: QueuedUse }
  | { kind: 'refused'; use: QueuedUse; error: TollgateError }
  /** It could not be charged this time either, and is tried again. Null: it is the queue that failed. */
  | { kind: 'delayed'; use: QueuedUse | null; error: unknown };

/**
 * A queue, like the client, is of one caller: what waits is charged to whoever the client is when Tollgate is back. Where somebody of another
 * organization signs in, make a new client with a queue of its own.
 */
export interface OutageOptions {
  whenUnreachable?: WhenUnreachable;
  /** Where uses wait; in memory unless given, once a feature is open. With one, use of closed features is queued too, when Tollgate goes away after the work. */
  outageQueue?: OutageQueue;
  onOutage?: (event: OutageEvent) => void;
}

/** The queue, as the app sees it. */
export interface OutageView {
  waiting(): Promise<readonly QueuedUse[]>;
  refused(): Promise<readonly RefusedUse[]>;
  /** Tries now, and answers how many uses still wait. Before a server ends, for example. */
  drain(): Promise<number>;
  /** Takes out a use that was refused, once it is dealt with. */
  dismiss(idempotencyKey: string): Promise<void>;
  /** Tries no more on its own. */
  close(): void;
}

export type Outage = ReturnType<typeof createOutage>;

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;
/** Refusals of these have nothing to do with the feature. */
const OF_ANY_FEATURE: readonly string[] = [
  'organization_suspended',
  'unauthorized',
  'scope_missing',
  'not_your_organization',
];

export function createOutage(connection: Connection, { whenUnreachable = {}, outageQueue, onOutage }: OutageOptions) {
  const isOpenSomewhere = Object.values(whenUnreachable).includes('open');
  const queue = outageQueue ?? (isOpenSomewhere ? createMemoryQueue() : null);
  const refusedLately = new Set<string>();
  let draining: Promise<void> | null = null;
  let later: { cancel(): void } | null = null;
  let failures = 0;
  let isClosed = false;
  // What a process before this one has left is charged without anybody asking.
  if (outageQueue !== undefined) tryLater();

  function isOpen(feature: Feature): boolean {
    return whenUnreachable[feature] === 'open';
  }

  /** Whether work of the feature may run although its hold could not be placed. */
  function letsThrough(feature: Feature, error: unknown): error is TollgateError {
    if (!(error instanceof TollgateError)) return false;
    if (error.isOutage) {
      const mayRun = isOpen(feature) && !refusedLately.has(feature) && !refusedLately.has('any');
      if (mayRun) tell({ kind: 'opened', feature, error });
      return mayRun;
    }
    if (error.status !== null && error.status < 500 && error.status !== 429) {
      refusedLately.add(OF_ANY_FEATURE.includes(error.code) ? 'any' : feature);
    }
    return false;
  }

  function noteAdmission(feature: Feature): void {
    refusedLately.delete(feature);
    refusedLately.delete('any');
  }

  /** Charges a use now, or queues it when Tollgate is away and there is a queue. Throws when neither can be. */
  async function charge(use: QueuedUse): Promise<void> {
    try {
      await chargeUse(connection, use);
    } catch (error) {
      if (queue === null || !(error instanceof TollgateError && error.isOutage)) throw error;
      await enqueue(use);
    }
  }

  async function enqueue(use: QueuedUse): Promise<void> {
    await queue!.add(use);
    tell({ kind: 'queued', use });
    tryLater();
  }

  function tryLater(): void {
    if (isClosed || later !== null) return;
    later = laterUnheld(
      () => {
        later = null;
        drainOnce().catch((error: unknown) => {
          failures++;
          tell({ kind: 'delayed', use: null, error });
          tryLater();
        });
      },
      backOffMs(failures, FIRST_PAUSE_MS, LONGEST_PAUSE_MS),
    );
  }

  function drainOnce(): Promise<void> {
    draining ??= chargeWaiting().finally(() => {
      draining = null;
    });
    return draining;
  }

  /** In order, one at a time: the first that cannot be charged yet holds the others up. */
  async function chargeWaiting(): Promise<void> {
    for (;;) {
      const [use] = (await queue?.waiting()) ?? [];
      if (use === undefined) return;
      try {
        await chargeUse(connection, use);
      } catch (error) {
        if (isForGood(error)) {
          await queue!.refuse(use.idempotencyKey, { code: error.code, detail: error.message });
          tell({ kind: 'refused', use, error });
          continue;
        }
        failures++;
        tell({ kind: 'delayed', use, error });
        return tryLater();
      }
      failures = 0;
      // Should this process end before the next line, the use is charged again, which changes nothing.
      await queue!.remove(use.idempotencyKey);
      tell({ kind: 'charged', use });
    }
  }

  function tell(event: OutageEvent): void {
    try {
      onOutage?.(event);
    } catch {
      // Said in OutageEvent.
    }
  }

  const view: OutageView = {
    waiting: async () => (await queue?.waiting()) ?? [],
    refused: async () => (await queue?.refused()) ?? [],
    drain: async () => {
      // What was queued while an earlier round was at its end is for this one.
      await draining?.catch(() => {});
      await drainOnce();
      return (await view.waiting()).length;
    },
    dismiss: async (idempotencyKey) => queue?.remove(idempotencyKey),
    close: () => {
      isClosed = true;
      later?.cancel();
    },
  };
  return { isOpen, letsThrough, noteAdmission, charge, enqueue, view };
}

/** Not for want of an answer, of credentials or of patience: a repeat would get the same. */
function isForGood(error: unknown): error is TollgateError {
  const status = error instanceof TollgateError ? error.status : null;
  return status !== null && status >= 400 && status < 500 && ![401, 408, 429].includes(status);
}
