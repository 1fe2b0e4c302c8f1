import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  claimDeliveries,
  deliveryLag,
  handBackLane,
  type LeasedLane,
  markDelivered,
  recordDeliveryFailure,
  registerSubscriber,
  removeDeliveredEvents,
} from '../../db/outbox.ts';
import { asOwner } from '../support/asOwner.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { openWriter, writeEvent } from '../support/outboxWriter.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let count = 0;
/** Of this test alone, and so is the kind of its events, which has the same name. */
let subscriber: string;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  count += 1;
  subscriber = `subscriber-${count}`;
  await registerSubscriber(database.worker, subscriber, [subscriber]);
});
afterEach(() => asOwner(database, 'select tollgate.remove_subscriber($1)', [subscriber]));

const LEASE_MS = 60_000;
const write = (organizationId: string) => writeEvent(database.superuser, organizationId, subscriber);
const claim = (change: Partial<Parameters<typeof claimDeliveries>[1]> = {}) =>
  claimDeliveries(database.worker, { subscriber, lanes: 10, eventsPerLane: 10, leaseMs: LEASE_MS, ...change });
const laneOf = ({ organizationId, lease }: LeasedLane) => ({ subscriber, organizationId, lease });
const mark = (lane: LeasedLane, eventId: number) =>
  markDelivered(database.worker, { ...laneOf(lane), eventId, leaseMs: LEASE_MS });
const idsOf = (lanes: readonly LeasedLane[]) => lanes.flatMap(({ events }) => events.map(({ eventId }) => eventId));
/** Claims, marks everything and hands back; answers what came, in order. */
async function deliverAll(): Promise<number[]> {
  const lanes = await claim();
  for (const lane of lanes) {
    for (const { eventId } of lane.events) expect(await mark(lane, eventId)).toBe(true);
    await handBackLane(database.worker, laneOf(lane));
  }
  return idsOf(lanes);
}

describe('order', () => {
  it('an event that becomes visible after a later id was delivered is delivered too: nothing is passed over', async () => {
    const early = await openWriter(database.superuser);
    const first = await early.write('late', subscriber);
    const second = await write('late');
    expect(second).toBeGreaterThan(first);
    expect(await deliverAll()).toEqual([second]);
    expect(await deliverAll()).toEqual([]);
    await early.commit();
    expect(await deliverAll()).toEqual([first]);
    expect(await deliverAll()).toEqual([]);
  });

  it('an event that was rolled back keeps nobody waiting', async () => {
    const gone = await openWriter(database.superuser);
    await gone.write('rolled-back', subscriber);
    const event = await write('rolled-back');
    await gone.rollback();
    expect(await deliverAll()).toEqual([event]);
  });

  it('while one routes, another sees nothing that came after: no later event goes first', async () => {
    const first = await write('routing');
    const router = await database.worker.connect();
    await router.query('begin');
    const { rows } = await router.query(
      `select d.event_id, d.lease from tollgate.claim_deliveries($1, 1, 10, '1 minute') d`,
      [subscriber],
    );
    expect(rows).toMatchObject([{ event_id: first }]);
    const second = await write('routing');
    expect(await claim()).toEqual([]);
    // It dies; what it had leased and routed is as if it had never been.
    await router.query('rollback');
    router.release();
    expect(await deliverAll()).toEqual([first, second]);
  });

  it('a long queue comes in pages, in order, and the page’s end is not the queue’s', async () => {
    const events: number[] = [];
    for (let n = 0; n < 7; n++) events.push(await write('pages'));
    const delivered: number[] = [];
    for (let page = 0; page < 4; page++) {
      for (const lane of await claim({ eventsPerLane: 3 })) {
        delivered.push(...idsOf([lane]));
        for (const { eventId } of lane.events) await mark(lane, eventId);
        await handBackLane(database.worker, laneOf(lane));
      }
    }
    expect(delivered).toEqual(events);
  });
});

describe('leases', () => {
  it('a leased organization is nobody else’s; the others are', async () => {
    await write('leased');
    const [lane] = await claim();
    expect(lane).toMatchObject({ organizationId: 'leased' });
    await write('leased');
    const free = await write('free');
    expect(idsOf(await claim())).toEqual([free]);
  });

  it('the lease of a dead worker is taken over, from the first event that it had not marked, and it cannot mark any more', async () => {
    const [first, second, third] = [await write('dead'), await write('dead'), await write('dead')];
    const [dead] = await claim();
    expect(await mark(dead!, first)).toBe(true);
    await elapse(database.superuser, 'dead', '2 minutes');
    const [next] = await claim();
    expect(idsOf([next!])).toEqual([second, third]);
    expect(await mark(dead!, second)).toBe(false);
    expect(await recordDeliveryFailure(database.worker, { ...laneOf(dead!), errorClass: 'Error' })).toBeNull();
    await handBackLane(database.worker, laneOf(dead!));
    expect(await claim()).toEqual([]);
    expect(await mark(next!, second)).toBe(true);
  });

  it('an event that comes while its organization’s last one is being marked wakes it again', async () => {
    const first = await write('awake');
    const [lane] = await claim();
    const second = await write('awake');
    expect(await claim()).toEqual([]);
    await mark(lane!, first);
    await handBackLane(database.worker, laneOf(lane!));
    expect(await deliverAll()).toEqual([second]);
    expect(await deliverAll()).toEqual([]);
    const third = await write('awake');
    expect(await deliverAll()).toEqual([third]);
  });

  it('an event that is being routed while its organization is handed back is not forgotten, whoever of the two is first', async () => {
    const leased = async () => {
      const event = await write('race');
      const [lane] = await claim();
      await mark(lane!, event);
      return lane!;
    };
    const other = await database.worker.connect();
    onTestFinished(() => other.release(true));
    const inside = async (text: string, values: unknown[]) => {
      await other.query('begin');
      await other.query(text, values);
    };
    const waits = () =>
      until(async () => {
        const { rows } = await database.superuser.query(
          `select from pg_stat_activity a where a.datname = $1 and a.wait_event_type = 'Lock'`,
          [database.name],
        );
        return rows.length > 0;
      });

    let lane = await leased();
    let event = await write('race');
    await inside(`select from tollgate.claim_deliveries($1, 1, 1, '1 minute')`, [subscriber]);
    const handedBack = handBackLane(database.worker, laneOf(lane));
    await waits();
    await other.query('commit');
    await handedBack;
    expect(await deliverAll()).toEqual([event]);

    lane = await leased();
    event = await write('race');
    await inside('select tollgate.hand_back_lane($1, $2, $3)', [subscriber, 'race', lane.lease]);
    const claimed = claim();
    await waits();
    await other.query('commit');
    expect(idsOf(await claimed)).toEqual([event]);
  });

  it('of 10 workers that ask at once, each organization goes to one', async () => {
    const events: number[] = [];
    for (let n = 0; n < 20; n++) events.push(await write(`crowd-${n}`));
    const claims = await Promise.all(Array.from({ length: 10 }, () => claim({ lanes: 4 })));
    claims.push(await claim({ lanes: 20 }));
    expect(idsOf(claims.flat()).toSorted((a, b) => a - b)).toEqual(events);
  });

  it('asking when there is nothing writes nothing', async () => {
    await write('idle');
    await deliverAll();
    await deliverAll();
    const client = await database.worker.connect();
    await client.query('begin');
    await client.query(`select from tollgate.claim_deliveries($1, 8, 50, '1 minute')`, [subscriber]);
    const { rows } = await client.query('select pg_current_xact_id_if_assigned()::text as transaction');
    await client.query('rollback');
    client.release();
    expect(rows).toEqual([{ transaction: null }]);
  });
});

describe('failures', () => {
  it('keep back the organization and the subscriber they happened to, and nobody else', async () => {
    const other = `${subscriber}-other`;
    await registerSubscriber(database.worker, other, [subscriber]);
    const [first, second] = [await write('refused'), await write('refused')];
    const free = await write('taken');
    const lanes = await claim();
    const refused = lanes.find(({ organizationId }) => organizationId === 'refused')!;
    expect(await recordDeliveryFailure(database.worker, { ...laneOf(refused), errorClass: 'TypeError' })).toBe(1);
    await mark(lanes.find(({ organizationId }) => organizationId === 'taken')!, free);

    await write('refused');
    expect(await claim()).toEqual([]);
    expect(idsOf(await claim({ subscriber: other }))).toContain(second);

    await elapse(database.superuser, 'refused', '1 second');
    const [again] = await claim();
    expect(idsOf([again!]).slice(0, 2)).toEqual([first, second]);
    expect(await recordDeliveryFailure(database.worker, { ...laneOf(again!), errorClass: 'TypeError' })).toBe(2);
    await asOwner(database, 'select tollgate.remove_subscriber($1)', [other]);
  });

  it('pause longer each time, up to 5 minutes, and are forgotten with the next success', async () => {
    const event = await write('patience');
    const pauses: number[] = [];
    for (let n = 0; n < 11; n++) {
      const [lane] = await claim();
      await recordDeliveryFailure(database.worker, { ...laneOf(lane!), errorClass: 'Error' });
      const { rows } = await database.superuser.query(
        `select extract(epoch from l.due_at - clock_timestamp())::float as pause from tollgate.delivery_lanes l
          where l.organization_id = 'patience' and l.subscriber = $1`,
        [subscriber],
      );
      pauses.push(Math.round(rows[0].pause));
      await elapse(database.superuser, 'patience', '5 minutes');
    }
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    expect(await deliveryLag(database.worker, subscriber)).toMatchObject({ failingOrganizations: 1 });
    const [lane] = await claim();
    await mark(lane!, event);
    expect(await deliveryLag(database.worker, subscriber)).toEqual({
      oldestUndeliveredMs: null,
      failingOrganizations: 0,
    });
  });

  it('keep the class of the error; what reads like a message is refused', async () => {
    await write('secret');
    const [lane] = await claim();
    const failure = { ...laneOf(lane!), errorClass: 'could not tell jane@example.com' };
    await expect(recordDeliveryFailure(database.worker, failure)).rejects.toThrow('error_is_a_class');
  });

  it('are found by the query of docs/operating/outbox.md, as the auditor', async () => {
    const guide = await readFile(new URL('../../docs/operating/outbox.md', import.meta.url), 'utf8');
    const query = /```sql\n(select l\.subscriber[\s\S]*?)```/.exec(guide)![1]!;
    const event = await write('found');
    await write('found');
    const [lane] = await claim();
    await recordDeliveryFailure(database.worker, { ...laneOf(lane!), errorClass: 'ServiceError' });
    const { rows } = await database.auditor.query(query);
    expect(rows).toContainEqual(
      expect.objectContaining({
        subscriber,
        organization_id: 'found',
        id: event,
        attempts: 1,
        last_error: 'ServiceError',
      }),
    );
  });

  it('an event that is skipped by the owner goes, and what waited behind it comes at once', async () => {
    const [poison, next] = [await write('poison'), await write('poison')];
    const [lane] = await claim();
    await recordDeliveryFailure(database.worker, { ...laneOf(lane!), errorClass: 'Error' });
    const skip = () =>
      asOwner(database, 'select tollgate.skip_delivery($1, $2, $3) as skipped', [subscriber, 'poison', poison]);
    expect(await skip()).toEqual([{ skipped: true }]);
    expect(await skip()).toEqual([{ skipped: false }]);
    expect(await deliverAll()).toEqual([next]);
  });
});

describe('subscribers', () => {
  it('hear of the kinds that they want, also when an older version registers again', async () => {
    const more = `${subscriber}-more`;
    await registerSubscriber(database.worker, subscriber, [subscriber, more]);
    await registerSubscriber(database.worker, subscriber, [subscriber]);
    const event = await writeEvent(database.superuser, 'kinds', more);
    await writeEvent(database.superuser, 'kinds', `${subscriber}-unwanted`);
    expect(await deliverAll()).toEqual([event]);
  });

  it('one that comes later hears of what happens from then on', async () => {
    await write('before');
    await deliverAll();
    const late = `${subscriber}-late`;
    await registerSubscriber(database.worker, late, [subscriber]);
    const event = await write('before');
    expect(idsOf(await claim({ subscriber: late }))).toEqual([event]);
    await asOwner(database, 'select tollgate.remove_subscriber($1)', [late]);
  });

  it('lag counts from the oldest event that was not delivered, routed or not', async () => {
    await write('lag');
    await elapse(database.superuser, 'lag', '10 minutes');
    const lag = async () => (await deliveryLag(database.worker, subscriber)).oldestUndeliveredMs;
    expect(await lag()).toBeGreaterThanOrEqual(600_000);
    const [lane] = await claim();
    expect(await lag()).toBeGreaterThanOrEqual(600_000);
    await mark(lane!, idsOf([lane!])[0]!);
    expect(await lag()).toBeNull();
  });

  it('lag of one that has not registered yet is not none', async () => {
    await write('unregistered');
    expect((await deliveryLag(database.worker, 'nobody')).oldestUndeliveredMs).not.toBeNull();
    await deliverAll();
    expect((await deliveryLag(database.worker, 'nobody')).oldestUndeliveredMs).toBeNull();
  });
});

describe('housekeeping', () => {
  it('removes old events that everybody has been given, in pages, and none that somebody waits for', async () => {
    const stored = async () => {
      const { rows } = await database.superuser.query(
        'select o.id from tollgate.outbox o where o.organization_id = $1 order by 1',
        ['old'],
      );
      return rows.map(({ id }) => id);
    };
    for (let n = 0; n < 5; n++) await write('old');
    await deliverAll();
    const waiting = await write('old');
    await claim();
    await elapse(database.superuser, 'old', '31 days');
    const young = await write('old');
    const remove = () => removeDeliveredEvents(database.worker, { olderThanMs: 30 * 86_400_000, limit: 3 });
    expect([await remove(), await remove(), await remove()]).toEqual([3, 2, 0]);
    expect(await stored()).toEqual([waiting, young]);
  });
});
