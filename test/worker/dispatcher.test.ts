import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { Subscriber } from '../../activities/subscriber.ts';
import { registerSubscriber } from '../../db/outbox.ts';
import { type Dispatcher, type DispatcherOptions, startDispatcher } from '../../worker/dispatcher.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { openWriter, writeEvent } from '../support/outboxWriter.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let count = 0;
/** Of this test alone: the kind of its events, and the name of its first subscriber. */
let name: string;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  count += 1;
  name = `test-${count}`;
  await registerSubscriber(database.worker, name, [name]);
});

interface Recorder extends Subscriber {
  delivered: { organizationId: string; eventId: number }[];
  idsOf(organizationId: string): number[];
}

/** Keeps what it took. `before` may wait or throw first. */
function recorder(before: Subscriber['deliver'] = async () => {}, subscriberName = name): Recorder {
  const delivered: Recorder['delivered'] = [];
  return {
    name: subscriberName,
    kinds: [name],
    delivered,
    idsOf: (organizationId) =>
      delivered.filter((event) => event.organizationId === organizationId).map(({ eventId }) => eventId),
    deliver: async (event, signal) => {
      await before(event, signal);
      delivered.push({ organizationId: event.organizationId, eventId: event.eventId });
    },
  };
}

function dispatch(subscribers: readonly Subscriber[], change: Partial<DispatcherOptions> = {}) {
  const warnings: object[] = [];
  const dispatcher = startDispatcher({
    pool: database.worker,
    subscribers,
    retentionMs: 86_400_000,
    log: { warn: (fields, message) => warnings.push({ message, ...fields }) },
    ...change,
  });
  onTestFinished(() => dispatcher.stop());
  return Object.assign(dispatcher, { warnings });
}

const write = (organizationId: string) => writeEvent(database.superuser, organizationId, name);
const org = (part: string) => `${name}-${part}`;

describe('order', () => {
  it('two workers, writers that commit out of order: each event once, never after one that it happened before, one at a time in each organization', async () => {
    const underWay = new Set<string>();
    let overlaps = 0;
    const take: Subscriber['deliver'] = async ({ organizationId }) => {
      if (underWay.has(organizationId)) overlaps += 1;
      underWay.add(organizationId);
      await new Promise(setImmediate);
      underWay.delete(organizationId);
    };
    const order: Recorder['delivered'] = [];
    const both = [recorder(take), recorder(take)];
    for (const subscriber of both) {
      dispatch([
        {
          ...subscriber,
          deliver: async (event, signal) => {
            await subscriber.deliver(event, signal);
            order.push(event);
          },
        },
      ]);
    }

    const organizations = ['a', 'b', 'c'].map(org);
    const committed = new Map<string, number[]>(organizations.map((organization) => [organization, []]));
    /** For each event, those of its organization that were committed before it was written. */
    const causes = new Map<number, number[]>();
    const writeSome = async (seed: number) => {
      for (let n = 0; n < 12; n++) {
        const organization = organizations[(seed + n) % 3]!;
        const writer = await openWriter(database.superuser);
        const written: number[] = [];
        for (let m = 0; m <= (seed * n) % 3; m++) {
          const before = [...committed.get(organization)!, ...written];
          const event = await writer.write(organization, name);
          causes.set(event, before);
          written.push(event);
        }
        // The odd ones stay open while their neighbours write and commit.
        for (let turn = 0; turn < ((seed * 7 + n * 3) % 5) * (seed % 2); turn++)
          await database.superuser.query('select 1');
        await writer.commit();
        committed.get(organization)!.push(...written);
      }
    };
    await Promise.all([1, 2, 3, 4, 5, 6].map(writeSome));
    await until(() => order.length >= causes.size);

    expect(order.map(({ eventId }) => eventId).toSorted((a, b) => a - b)).toEqual(
      [...causes.keys()].toSorted((a, b) => a - b),
    );
    const position = new Map(order.map(({ eventId }, index) => [eventId, index]));
    const early = [...causes].filter(([event, before]) =>
      before.some((cause) => position.get(cause)! > position.get(event)!),
    );
    expect(early).toEqual([]);
    expect(overlaps).toBe(0);
  });

  it('what comes in while a long queue is delivered comes after it', async () => {
    const events: number[] = [];
    for (let n = 0; n < 120; n++) events.push(await write(org('long')));
    const subscriber = recorder(async ({ eventId }) => {
      if (eventId === events[10]) events.push(await write(org('long')));
    });
    dispatch([subscriber]);
    await until(() => subscriber.delivered.length === 121);
    expect(subscriber.idsOf(org('long'))).toEqual(events);
  });
});

describe('a worker that dies', () => {
  it('between the delivery and its mark: that event is delivered again, those before it are not, and none is lost', async () => {
    const events = [await write(org('dies')), await write(org('dies')), await write(org('dies'))];
    const child = spawn(process.execPath, [fileURLToPath(new URL('../support/dyingDispatcher.ts', import.meta.url))], {
      env: { PATH: process.env.PATH, DATABASE_URL: database.workerUrl, SUBSCRIBER: name, DELIVERIES: '2' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
    const [, signal] = await once(child, 'close');
    expect(signal).toBe('SIGKILL');
    expect(output.trim().split('\n').map(Number)).toEqual(events.slice(0, 2));

    const subscriber = recorder();
    dispatch([subscriber]);
    const free = await write(org('lives'));
    await until(() => subscriber.idsOf(org('lives')).includes(free));
    expect(subscriber.idsOf(org('dies')), 'its lease is not over').toEqual([]);
    await elapse(database.superuser, org('dies'), '31 seconds');
    await until(() => subscriber.idsOf(org('dies')).length === 2);
    expect(subscriber.idsOf(org('dies'))).toEqual(events.slice(1));
  });

  it('whose database connections are cut goes on, and nothing is lost', async () => {
    const subscriber = recorder();
    dispatch([subscriber], { leaseMs: 10_000 });
    await write(org('cut'));
    await until(() => subscriber.delivered.length === 1);
    await database.superuser.query(
      `select pg_terminate_backend(a.pid) from pg_stat_activity a where a.datname = $1 and a.usename = 'tollgate_worker'`,
      [database.name],
    );
    const event = await write(org('cut'));
    await until(() => subscriber.idsOf(org('cut')).includes(event));
  });
});

const untilGivenAll = (dispatcher: Pick<Dispatcher, 'lag'>, subscriber: string) =>
  until(async () => (await dispatcher.lag())[subscriber]!.oldestUndeliveredMs === null);

describe('a subscriber', () => {
  it('that refuses an event keeps back its own later events of that organization, and nothing else', async () => {
    let isWell = false;
    const bad = [await write(org('bad')), await write(org('bad'))];
    const failing = recorder(async ({ eventId }) => {
      if (eventId === bad[0] && !isWell) throw new RangeError('jane@example.com has no mailbox');
    });
    const other = recorder(async () => {}, `${name}-other`);
    await registerSubscriber(database.worker, other.name, [name]);
    const good = await write(org('good'));
    const dispatcher = dispatch([failing, other]);
    await until(() => other.delivered.length === 3 && failing.delivered.length === 1 && dispatcher.warnings.length > 0);
    expect(failing.delivered).toEqual([{ organizationId: org('good'), eventId: good }]);
    expect(other.idsOf(org('bad'))).toEqual(bad);
    // It is given before it is marked.
    await untilGivenAll(dispatcher, other.name);
    expect(await dispatcher.lag()).toEqual({
      [failing.name]: { oldestUndeliveredMs: expect.any(Number), failingOrganizations: 1 },
      [other.name]: { oldestUndeliveredMs: null, failingOrganizations: 0 },
    });
    // What it threw is told by its class, nowhere by its words.
    expect(dispatcher.warnings[0]).toMatchObject({ eventId: bad[0], errorClass: 'RangeError', attempts: 1 });
    const { rows } = await database.superuser.query('select l::text as lane from tollgate.delivery_lanes l');
    expect(JSON.stringify([dispatcher.warnings, rows])).not.toContain('jane');

    isWell = true;
    await elapse(database.superuser, org('bad'), '5 minutes');
    await until(() => failing.idsOf(org('bad')).length === 2);
    expect(failing.idsOf(org('bad'))).toEqual(bad);
    await untilGivenAll(dispatcher, failing.name);
    expect(await dispatcher.lag()).toMatchObject({
      [failing.name]: { oldestUndeliveredMs: null, failingOrganizations: 0 },
    });
  });

  it('that never answers counts as one that refuses, and is told to stop trying', async () => {
    const aborted: unknown[] = [];
    const subscriber = recorder(({ organizationId }, signal) => {
      if (organizationId !== org('silent')) return Promise.resolve();
      signal.addEventListener('abort', () => aborted.push(signal.reason));
      return new Promise(() => {});
    });
    await write(org('silent'));
    const event = await write(org('answers'));
    const dispatcher = dispatch([subscriber], { deliveryLimitMs: 200 });
    await until(() => dispatcher.warnings.length > 0 && subscriber.idsOf(org('answers')).includes(event));
    expect(dispatcher.warnings[0]).toMatchObject({ errorClass: 'DeliveryTookTooLong' });
    expect(aborted.length).toBeGreaterThan(0);
  });

  it('is not bothered with kinds that only an earlier version wanted', async () => {
    await registerSubscriber(database.worker, name, [`${name}-former`]);
    const subscriber = recorder();
    await writeEvent(database.superuser, org('former'), `${name}-former`);
    const event = await write(org('former'));
    const dispatcher = dispatch([subscriber]);
    await until(() => subscriber.delivered.length > 0);
    expect(subscriber.idsOf(org('former'))).toEqual([event]);
    await untilGivenAll(dispatcher, name);
  });
});

describe('a drain', () => {
  it('finishes the delivery under way, begins no other, and leaves no lease that anybody must wait for', async () => {
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    const { promise: opened, resolve: open } = Promise.withResolvers<void>();
    const subscriber = recorder(async () => {
      arrive();
      await opened;
    });
    const events = [await write(org('drain')), await write(org('drain'))];
    const draining = dispatch([subscriber]);
    await arrived;
    const stopped = draining.stop();
    open();
    await stopped;
    expect(subscriber.idsOf(org('drain'))).toEqual(events.slice(0, 1));

    const next = recorder();
    dispatch([next]);
    await until(() => next.delivered.length === 1);
    expect(next.idsOf(org('drain'))).toEqual(events.slice(1));
  });
});
