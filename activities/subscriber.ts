import type { OutboxEvent } from '../db/outbox.ts';

/**
 * Somebody who must hear of what happened. Events of one organization come one after the other, in order, each at least
 * once: `deliver` is called again with the same `eventId` when it threw, took too long, or its worker died before the
 * delivery was marked. A late event may have a smaller id than one before it, so what was seen is known by the id itself
 * and never by the largest.
 */
export interface Subscriber {
  /** Never changed once it has run: what is still to be delivered is kept under this name. */
  readonly name: string;
  readonly kinds: readonly string[];
  /** The signal ends what takes too long; by then the event counts as refused, whatever became of the call. */
  deliver(event: OutboxEvent, signal: AbortSignal): Promise<void>;
}
