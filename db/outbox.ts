import type { Pool } from 'pg';
import { call } from './faults.ts';

/** What somebody outside must hear. Written in the transaction of what it tells; ids only, nothing personal. */
export interface OutboxEvent {
  organizationId: string;
  eventId: number;
  kind: string;
  subjectId: string | null;
  content: Record<string, unknown>;
  createdAt: Date;
}

/** The oldest events of one organization that a subscriber has not been given, in order, and the right to deliver them. */
export interface LeasedLane {
  organizationId: string;
  lease: string;
  events: OutboxEvent[];
}

/** Safe to run twice. See migrations/functions/register_subscriber.sql. */
export async function registerSubscriber(pool: Pool, name: string, kinds: readonly string[]): Promise<void> {
  await call(() => pool.query('select tollgate.register_subscriber($1, $2)', [name, kinds]));
}

/** Leases lanes that are due. Nobody else delivers them until then. See migrations/functions/claim_deliveries.sql. */
export async function claimDeliveries(
  pool: Pool,
  claim: { subscriber: string; lanes: number; eventsPerLane: number; leaseMs: number },
): Promise<LeasedLane[]> {
  const { rows } = await call(() =>
    pool.query<OutboxEvent & { lease: string }>(
      `select d.organization_id as "organizationId", d.lease, d.event_id as "eventId", d.kind, d.subject_id as "subjectId",
              d.content, d.created_at as "createdAt"
         from tollgate.claim_deliveries($1, $2, $3, $4::interval) d
        order by d.organization_id, d.event_id`,
      [claim.subscriber, claim.lanes, claim.eventsPerLane, `${claim.leaseMs} milliseconds`],
    ),
  );
  const lanes: LeasedLane[] = [];
  for (const { lease, ...event } of rows) {
    if (lanes.at(-1)?.organizationId !== event.organizationId) {
      lanes.push({ organizationId: event.organizationId, lease, events: [] });
    }
    lanes.at(-1)!.events.push(event);
  }
  return lanes;
}

interface LaneReference {
  subscriber: string;
  organizationId: string;
  lease: string;
}

/** False when the lease is somebody else's by now. See migrations/functions/mark_delivered.sql. */
export async function markDelivered(
  pool: Pool,
  { subscriber, organizationId, lease, eventId, leaseMs }: LaneReference & { eventId: number; leaseMs: number },
): Promise<boolean> {
  const { rows } = await call(() =>
    pool.query('select tollgate.mark_delivered($1, $2, $3, $4, $5::interval) as "isOurs"', [
      subscriber,
      organizationId,
      lease,
      eventId,
      `${leaseMs} milliseconds`,
    ]),
  );
  return rows[0].isOurs;
}

/** Safe to run twice. See migrations/functions/hand_back_lane.sql. */
export async function handBackLane(pool: Pool, { subscriber, organizationId, lease }: LaneReference): Promise<void> {
  await call(() => pool.query('select tollgate.hand_back_lane($1, $2, $3)', [subscriber, organizationId, lease]));
}

/** Answers how often in a row the lane has failed; null when the lease was lost. See record_delivery_failure.sql. */
export async function recordDeliveryFailure(
  pool: Pool,
  { subscriber, organizationId, lease, errorClass }: LaneReference & { errorClass: string },
): Promise<number | null> {
  const { rows } = await call(() =>
    pool.query('select tollgate.record_delivery_failure($1, $2, $3, $4) as attempts', [
      subscriber,
      organizationId,
      lease,
      errorClass,
    ]),
  );
  return rows[0].attempts;
}

export interface DeliveryLag {
  /** Of the oldest event that it has not been given; null when it has been given all. */
  oldestUndeliveredMs: number | null;
  failingOrganizations: number;
}

export async function deliveryLag(pool: Pool, subscriber: string): Promise<DeliveryLag> {
  const { rows } = await call(() =>
    pool.query(
      `select (extract(epoch from l.age) * 1000)::bigint as "oldestUndeliveredMs", l.failing_organizations as "failingOrganizations"
         from tollgate.delivery_lag($1) l`,
      [subscriber],
    ),
  );
  return rows[0];
}

/** One page; answers how many events went. See migrations/functions/remove_delivered_events.sql. */
export async function removeDeliveredEvents(pool: Pool, page: { olderThanMs: number; limit: number }): Promise<number> {
  const { rows } = await call(() =>
    pool.query('select tollgate.remove_delivered_events($1::interval, $2) as removed', [
      `${page.olderThanMs} milliseconds`,
      page.limit,
    ]),
  );
  return rows[0].removed;
}
