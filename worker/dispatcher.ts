import type { Pool } from 'pg';
import type { Subscriber } from '../activities/subscriber.ts';
import * as outbox from '../db/outbox.ts';
import { createAlarm } from './alarm.ts';

const ORGANIZATIONS_AT_ONCE = 8;
const EVENTS_PER_LEASE = 50;
/** What a dead worker's organizations wait before another takes them over. */
const LEASE_MS = 30_000;
/** Well within half of the lease, and within the grace that a draining worker has. */
const DELIVERY_LIMIT_MS = 8_000;
const SHORTEST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;
const HOUSEKEEPING_EVERY_MS = 3_600_000;
const EVENTS_PER_REMOVAL = 1_000;

export interface Dispatcher {
  /** How far each subscriber is behind, by its name. */
  lag(): Promise<Record<string, outbox.DeliveryLag>>;
  /** Begins no further delivery; resolves when those under way have been marked and their leases given back. */
  stop(): Promise<void>;
}

export interface DispatcherOptions {
  pool: Pool;
  subscribers: readonly Subscriber[];
  /** How long events stay that every subscriber has been given. */
  retentionMs: number;
  log: { warn(fields: object, message: string): void };
  leaseMs?: number;
  deliveryLimitMs?: number;
}

/**
 * Gives the outbox's events to the subscribers: each at least once, one organization's one after the other, organizations
 * beside each other. One that a subscriber refuses keeps back what comes after it in that organization, for that subscriber,
 * and nothing else. Any number of workers may run one: who delivers an organization's events to a subscriber holds a lease
 * in the database (migrations/functions/claim_deliveries.sql has the rule that the order rests on).
 */
export function startDispatcher(options: DispatcherOptions): Dispatcher {
  const { pool, subscribers } = options;
  const stopping = new AbortController();
  const running = Promise.all([
    ...subscribers.map((subscriber) => deliverTo(subscriber, options, stopping.signal)),
    keepHouse(options, stopping.signal),
  ]);
  return {
    lag: async () =>
      Object.fromEntries(
        await Promise.all(subscribers.map(async ({ name }) => [name, await outbox.deliveryLag(pool, name)] as const)),
      ),
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

async function deliverTo(subscriber: Subscriber, options: DispatcherOptions, stopping: AbortSignal): Promise<void> {
  const { pool, log, leaseMs = LEASE_MS } = options;
  const alarm = createAlarm(stopping);
  const underWay = new Set<Promise<void>>();
  let isRegistered = false;
  let isReadable = true;
  let pauseMs = SHORTEST_PAUSE_MS;
  while (!stopping.aborted) {
    const free = ORGANIZATIONS_AT_ONCE - underWay.size;
    let lanes: outbox.LeasedLane[] = [];
    try {
      if (!isRegistered) await outbox.registerSubscriber(pool, subscriber.name, subscriber.kinds);
      isRegistered = true;
      // The clock starts before the question, so that our lease ends here no later than in the database.
      const askedAt = performance.now();
      if (free > 0) {
        const claim = { subscriber: subscriber.name, lanes: free, eventsPerLane: EVENTS_PER_LEASE, leaseMs };
        lanes = await outbox.claimDeliveries(pool, claim);
      }
      for (const lane of lanes) {
        const delivery: Promise<void> = deliverLane(subscriber, lane, askedAt + leaseMs, options, stopping)
          .catch((error) => {
            // Its lease runs out, and whoever takes it over delivers again from the first event that is not marked.
            const { organizationId } = lane;
            log.warn({ subscriber: subscriber.name, organizationId, errorClass: classOf(error) }, 'a lease was left');
          })
          .finally(() => {
            underWay.delete(delivery);
            alarm.ring();
          });
        underWay.add(delivery);
      }
      isReadable = true;
    } catch (error) {
      // Once for each time that it goes away, not once a second.
      if (isReadable)
        log.warn({ subscriber: subscriber.name, errorClass: classOf(error) }, 'the outbox cannot be read');
      isReadable = false;
    }
    if (lanes.length > 0) {
      pauseMs = SHORTEST_PAUSE_MS;
      continue;
    }
    // A lane that has ended may have more behind its page.
    const wasRung = await alarm.sleep(pauseMs);
    pauseMs = wasRung ? SHORTEST_PAUSE_MS : Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
  await Promise.all(underWay);
}

async function deliverLane(
  subscriber: Subscriber,
  { organizationId, lease, events }: outbox.LeasedLane,
  leaseEnd: number,
  options: DispatcherOptions,
  stopping: AbortSignal,
): Promise<void> {
  const { pool, log, leaseMs = LEASE_MS, deliveryLimitMs = DELIVERY_LIMIT_MS } = options;
  const lane = { subscriber: subscriber.name, organizationId, lease };
  let leaseEndsAt = leaseEnd;
  for (const event of events) {
    // A delivery that could outlast the lease might run beside the next holder's.
    if (stopping.aborted || performance.now() + deliveryLimitMs > leaseEndsAt) break;
    const { eventId, kind } = event;
    try {
      // It is registered for kinds that an earlier version wanted, too.
      if (subscriber.kinds.includes(kind)) await deliverInTime(subscriber, event, deliveryLimitMs);
    } catch (error) {
      const errorClass = classOf(error);
      const attempts = await outbox.recordDeliveryFailure(pool, { ...lane, errorClass });
      log.warn(
        { subscriber: subscriber.name, organizationId, eventId, kind, errorClass, attempts },
        'an event was refused',
      );
      return;
    }
    const askedAt = performance.now();
    if (!(await outbox.markDelivered(pool, { ...lane, eventId, leaseMs }))) return;
    // A mark renews what has less than half left.
    leaseEndsAt = Math.max(leaseEndsAt, askedAt + leaseMs / 2);
  }
  await outbox.handBackLane(pool, lane);
}

class DeliveryTookTooLong extends Error {}

/** Also when the subscriber does not heed the signal. */
async function deliverInTime(subscriber: Subscriber, event: outbox.OutboxEvent, limitMs: number): Promise<void> {
  const abort = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const error = new DeliveryTookTooLong(`not within ${limitMs} ms`);
      reject(error);
      abort.abort(error);
    }, limitMs);
  });
  try {
    await Promise.race([subscriber.deliver(event, abort.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function keepHouse({ pool, retentionMs, log }: DispatcherOptions, stopping: AbortSignal): Promise<void> {
  const alarm = createAlarm(stopping);
  while (!stopping.aborted) {
    try {
      let removed: number;
      do {
        removed = await outbox.removeDeliveredEvents(pool, { olderThanMs: retentionMs, limit: EVENTS_PER_REMOVAL });
      } while (removed === EVENTS_PER_REMOVAL && !stopping.aborted);
    } catch (error) {
      log.warn({ errorClass: classOf(error) }, 'delivered events could not be removed; the next hour tries again');
    }
    await alarm.sleep(HOUSEKEEPING_EVERY_MS);
  }
}

/** Never the message: it can quote what the subscriber was given. */
function classOf(error: unknown): string {
  const name = error instanceof Error ? error.constructor.name : typeof error;
  return /^[A-Za-z0-9_]{1,64}$/.test(name) ? name : 'Error';
}
