import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  createMemoryQueue,
  createTollgate,
  type OutageEvent,
  type OutageQueue,
  type QueuedUse,
  type Tollgate,
  type TollgateOptions,
} from '@tollgate/sdk';
import { openFileQueue } from '@tollgate/sdk/fileQueue';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createOperator } from '../../db/operators.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { type Fault, type FaultyProxy, startFaultyProxy } from './faultyProxy.ts';

let database: TestDatabase;
let api: TestApi;
let proxy: FaultyProxy;
let organization: TestOrganization;
let folder: string;
const clients: Tollgate[] = [];
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  proxy = await startFaultyProxy(api.url);
  folder = await mkdtemp(join(tmpdir(), 'tollgate-queue-'));
});
beforeEach(async () => {
  proxy.decide(() => 'pass');
  organization = await createOrganization(database.superuser);
});
afterEach(() => {
  for (const { outage } of clients.splice(0)) outage.close();
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await proxy.close();
  await api.close();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

function client(more: Partial<TollgateOptions> = {}): {
  tollgate: Tollgate;
  events: OutageEvent[];
  kinds: () => string[];
} {
  const events: OutageEvent[] = [];
  const tollgate = createTollgate({
    url: proxy.url,
    apiKey: organization.secret,
    backOffMs: 2,
    onOutage: (event) => events.push(event),
    ...more,
  });
  clients.push(tollgate);
  return { tollgate, events, kinds: () => events.map(({ kind }) => kind) };
}

const OPEN = { whenUnreachable: { generate_goal: 'open' } } as const;
const goals = () => balanceOf(database.superuser, organization.organizationId, 'goal_generation');

/** What the usage log has for the organization, charge by charge. */
async function charges(): Promise<number[]> {
  const { rows } = await database.superuser.query(
    'select u.tokens_deducted from ai_token_usage_log u where u.organization_id = $1 order by u.created_at',
    [organization.organizationId],
  );
  return rows.map((row) => Number(row.tokens_deducted));
}

describe('when Tollgate cannot be reached', () => {
  test.each<Fault>(['cut', 'unavailable', 'bad_gateway'])(
    'work is not begun, unless said otherwise: %s',
    async (fault) => {
      const { tollgate, events } = client({ whenUnreachable: { generate_leads: 'open' } });
      proxy.decide(() => fault);
      const never = () => Promise.reject(new Error('the work was done'));
      await expect(tollgate.withTokens('generate_goal', never)).rejects.toMatchObject({ isOutage: true });
      expect(events).toEqual([]);
    },
  );

  test.each<Fault>(['cut', 'unavailable', 'bad_gateway', 'lose_answer'])(
    'an open feature’s work runs, and its use is queued, told, and charged once when Tollgate is back: %s',
    async (fault) => {
      const { tollgate, events, kinds } = client(OPEN);
      proxy.decide(() => fault);
      const result = await tollgate.withTokens('generate_goal', async (held) => held.use(2), { idempotencyKey: 'k' });
      expect(result).toBeUndefined();
      expect(kinds()).toEqual(['opened', 'queued']);
      expect(await tollgate.outage.drain()).toBe(1);
      expect(kinds().at(-1)).toBe('delayed');
      proxy.decide(() => 'pass');
      proxy.seen.length = 0;
      expect(await tollgate.outage.drain()).toBe(0);
      expect(events.at(-1)).toMatchObject({ kind: 'charged', use: { idempotencyKey: 'k', tokens: 2 } });
      expect(new Set(proxy.seen.flatMap(({ key }) => key ?? []))).toEqual(new Set(['k']));
      expect([await charges(), await goals()]).toEqual([[2], { available: 18, held: 0, owed: 0 }]);
    },
  );

  test('charges wait in order, and go out by themselves', async () => {
    const { tollgate, events } = client(OPEN);
    proxy.decide(() => 'cut');
    for (const tokens of [1, 2, 3]) await tollgate.withTokens('generate_goal', async (held) => held.use(tokens));
    expect((await tollgate.outage.waiting()).map(({ tokens }) => tokens)).toEqual([1, 2, 3]);
    proxy.decide(() => 'pass');
    await until(async () => (await tollgate.outage.waiting()).length === 0);
    expect(events.filter(({ kind }) => kind === 'charged')).toHaveLength(3);
    expect(await charges()).toEqual([1, 2, 3]);
  });

  test('what the work set aside in the outage is charged, also when more than the call asked for', async () => {
    const { tollgate } = client(OPEN);
    // The hold arrives, its answer does not: what it set aside is in doubt.
    proxy.decide(() => 'lose_answer');
    await tollgate.withTokens('generate_goal', async (held) => {
      await held.grow(4);
      expect(held.tokens).toBe(7);
    });
    proxy.decide(() => 'pass');
    expect(await tollgate.outage.drain()).toBe(0);
    expect([await charges(), await goals()]).toEqual([[7], { available: 13, held: 0, owed: 0 }]);
  });

  test('an outage after the work queues the use, of a closed feature too where there is a queue', async () => {
    const { tollgate, kinds } = client({ whenUnreachable: { generate_leads: 'open' } });
    proxy.decide(({ path }) => (path.endsWith('/capture') ? 'lose_answer' : 'pass'));
    expect(await tollgate.withTokens('generate_goal', async () => 'done')).toBe('done');
    expect(kinds()).toEqual(['queued']);
    proxy.decide(() => 'pass');
    expect(await tollgate.outage.drain()).toBe(0);
    expect(await charges()).toEqual([3]);
  });

  test('a queued use whose hold lapsed before Tollgate was back is charged once all the same', async () => {
    const { tollgate } = client(OPEN);
    proxy.decide(({ path }) => (path.endsWith('/capture') ? 'cut' : 'pass'));
    await tollgate.withTokens('generate_goal', async (held) => held.use(2));
    await elapse(database.superuser, organization.organizationId, '2000 seconds');
    proxy.decide(() => 'pass');
    expect(await tollgate.outage.drain()).toBe(0);
    expect([await charges(), (await goals()).available]).toEqual([[2], 18]);
  });

  test('two processes that worked under one key are charged once between them', async () => {
    const [one, other] = [client(OPEN).tollgate, client(OPEN).tollgate];
    proxy.decide(() => 'cut');
    const options = { idempotencyKey: 'shared' };
    await one.withTokens('generate_goal', async (held) => held.use(1), options);
    await other.withTokens('generate_goal', async (held) => held.use(2), options);
    proxy.decide(() => 'pass');
    expect([await one.outage.drain(), await other.outage.drain(), await charges()]).toEqual([0, 0, [1]]);
  });

  test('work of an open feature that throws in an outage is not charged, and neither is one that used nothing', async () => {
    const { tollgate } = client(OPEN);
    proxy.decide(() => 'cut');
    await expect(tollgate.withTokens('generate_goal', () => Promise.reject(new Error('failed')))).rejects.toThrow(
      'failed',
    );
    await tollgate.withTokens('generate_goal', async (held) => held.use(0));
    expect(await tollgate.outage.waiting()).toEqual([]);
  });
});

describe('never dropped', () => {
  test('a use that is refused for good stays among the refused, is told, and holds nobody up', async () => {
    const { tollgate, events } = client({ whenUnreachable: { generate_goal: 'open', generate_insight: 'open' } });
    proxy.decide(() => 'cut');
    await tollgate.withTokens('generate_goal', async () => {}, { tokens: 100 });
    await tollgate.withTokens('generate_insight', async () => {});
    proxy.decide(() => 'pass');
    expect(await tollgate.outage.drain()).toBe(0);
    const refused = await tollgate.outage.refused();
    expect(refused).toMatchObject([{ feature: 'generate_goal', tokens: 100, code: 'tokens_insufficient' }]);
    expect(events.slice(-2).map(({ kind }) => kind)).toEqual(['refused', 'charged']);
    expect(await charges()).toEqual([1]);
    await tollgate.outage.dismiss(refused[0]!.idempotencyKey);
    expect(await tollgate.outage.refused()).toEqual([]);
  });

  test('credentials that are refused for a while refuse no use', async () => {
    const { tollgate, kinds } = client({ ...OPEN, accessToken: () => credential });
    let credential = organization.secret;
    proxy.decide(() => 'cut');
    await tollgate.withTokens('generate_goal', async () => {});
    proxy.decide(() => 'pass');
    credential = 'tg_live_none';
    expect([await tollgate.outage.drain(), kinds().at(-1)]).toEqual([1, 'delayed']);
    credential = organization.secret;
    expect([await tollgate.outage.drain(), await charges()]).toEqual([0, [3]]);
  });

  test('a queue that fails for a while is told of, and gone on with', async () => {
    const queue = createMemoryQueue();
    let failures = 0;
    const failing: OutageQueue = {
      ...queue,
      remove: (key) => (++failures === 1 ? Promise.reject(new Error('The disk is full.')) : queue.remove(key)),
    };
    const { tollgate, events } = client({ ...OPEN, outageQueue: failing });
    proxy.decide(() => 'cut');
    await tollgate.withTokens('generate_goal', async () => {});
    proxy.decide(() => 'pass');
    await until(async () => (await tollgate.outage.waiting()).length === 0);
    expect(events).toContainEqual({ kind: 'delayed', use: null, error: new Error('The disk is full.') });
    expect(await charges()).toEqual([3]);
  });

  test('what the callback throws undoes nothing', async () => {
    const { tollgate } = client({
      ...OPEN,
      onOutage: () => {
        throw new Error('a bug of the app');
      },
    });
    proxy.decide(() => 'cut');
    expect(await tollgate.withTokens('generate_goal', async () => 'done')).toBe('done');
    proxy.decide(() => 'pass');
    expect([await tollgate.outage.drain(), await charges()]).toEqual([0, [3]]);
  });
});

describe('an outage lets nobody in who was refused', () => {
  const never = () => Promise.reject(new Error('the work was done'));

  test('by plan: starter organizations, until Tollgate says otherwise', async () => {
    organization = await createOrganization(database.superuser, 'starter');
    const { tollgate } = client(OPEN);
    await expect(tollgate.withTokens('generate_goal', never)).rejects.toMatchObject({ code: 'feature_not_available' });
    proxy.decide(() => 'cut');
    await expect(tollgate.withTokens('generate_goal', never)).rejects.toMatchObject({ code: 'unreachable' });
    proxy.decide(() => 'pass');
    await database.superuser.query("update organizations set plan = 'pro' where id = $1", [
      organization.organizationId,
    ]);
    await tollgate.withTokens('generate_goal', async () => {});
    proxy.decide(() => 'cut');
    expect(await tollgate.withTokens('generate_goal', async () => 'done')).toBe('done');
  });

  test('for a suspension: whatever the feature', async () => {
    const { tollgate } = client({ whenUnreachable: { generate_goal: 'open', generate_insight: 'open' } });
    const { credential } = await createOperator(database.superuser, { name: 'Ann' });
    const operator = createTollgate({ url: proxy.url, apiKey: credential });
    await operator.organizations.suspend(organization.organizationId, { reason: 'Does not pay.' });
    await expect(tollgate.withTokens('generate_goal', never)).rejects.toMatchObject({ code: 'organization_suspended' });
    proxy.decide(() => 'cut');
    await expect(tollgate.withTokens('generate_insight', never)).rejects.toMatchObject({ code: 'unreachable' });
  });

  test('for want of tokens, for that feature; for credentials that are none, for all', async () => {
    const { tollgate } = client({ whenUnreachable: { generate_goal: 'open', generate_insight: 'open' } });
    await expect(tollgate.withTokens('generate_goal', never, { tokens: 21 })).rejects.toMatchObject({ status: 402 });
    proxy.decide(() => 'cut');
    await expect(tollgate.withTokens('generate_goal', never)).rejects.toMatchObject({ code: 'unreachable' });
    expect(await tollgate.withTokens('generate_insight', async () => 'done')).toBe('done');
    proxy.decide(() => 'pass');
    const { tollgate: stranger } = client({ ...OPEN, apiKey: 'tg_live_none' });
    await expect(stranger.withTokens('generate_insight', never)).rejects.toMatchObject({ code: 'unauthorized' });
    proxy.decide(() => 'cut');
    await expect(stranger.withTokens('generate_goal', never)).rejects.toMatchObject({ code: 'unreachable' });
  });
});

describe('the queue in a file', () => {
  const use = (idempotencyKey: string): QueuedUse => ({
    idempotencyKey,
    feature: 'generate_goal',
    tokens: 1,
    heldTokens: 3,
    lifetimeSeconds: 900,
    holdId: null,
    usedAt: '2026-11-25T12:00:00.000Z',
  });
  const keys = async (queue: OutageQueue) => (await queue.waiting()).map(({ idempotencyKey }) => idempotencyKey);

  test('keeps over a restart what waits and what was refused, in order, and drops the line that a crash cut off', async () => {
    const path = join(folder, 'deep', 'uses.jsonl');
    const first = await openFileQueue(path);
    await Promise.all(['a', 'b', 'c', 'd'].map((key) => first.add(use(key))));
    await first.remove('a');
    await first.refuse('c', { code: 'tokens_insufficient', detail: 'None left.' });
    await first.close();
    // As kill -9 leaves it: a line that is not whole, and the lock of a pid that no longer runs.
    await appendFile(path, '{"act":"add","use":{"idemp');
    await writeFile(`${path}.lock`, '999999999');
    const second = await openFileQueue(path);
    expect(await keys(second)).toEqual(['b', 'd']);
    expect(await second.refused()).toEqual([{ ...use('c'), code: 'tokens_insufficient', detail: 'None left.' }]);
    expect((await readFile(path, 'utf8')).split('\n').filter(Boolean)).toHaveLength(4);
    await second.add(use('e'));
    await second.close();
    const third = await openFileQueue(path);
    expect(await keys(third)).toEqual(['b', 'd', 'e']);
    await third.close();
  });

  test('belongs to one process at a time, and a line that is broken in the middle is not passed over', async () => {
    const path = join(folder, 'held.jsonl');
    const queue = await openFileQueue(path);
    await expect(openFileQueue(path)).rejects.toThrow('in use by process');
    await queue.close();
    await writeFile(path, '{"act":\n{"act":"remove","idempotencyKey":"a"}\n');
    await expect(openFileQueue(path)).rejects.toThrow(SyntaxError);
    await writeFile(path, '');
    await (await openFileQueue(path)).close();
  });

  test('a process that is killed right after it has queued a use loses nothing', async () => {
    const path = join(folder, 'killed.jsonl');
    const child = spawn(process.execPath, [fileURLToPath(new URL('queueingProcess.ts', import.meta.url)), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const queue = await openFileQueue(path);
    onTestFinished(() => queue.close());
    expect(await queue.waiting()).toMatchObject([{ feature: 'generate_goal', tokens: 2 }]);
    const { tollgate } = client({ outageQueue: queue });
    expect([await tollgate.outage.drain(), await charges()]).toEqual([0, [2]]);
  });

  test('what one process queued, the next one charges without being asked', async () => {
    const path = join(folder, 'restart.jsonl');
    const before = await openFileQueue(path);
    const { tollgate } = client({ ...OPEN, outageQueue: before });
    proxy.decide(() => 'lose_answer');
    await tollgate.withTokens('generate_goal', async (held) => held.use(2));
    // It even charges, and dies before it has heard of it.
    await tollgate.outage.drain();
    tollgate.outage.close();
    await before.close();
    proxy.decide(() => 'pass');
    const after = await openFileQueue(path);
    onTestFinished(() => after.close());
    client({ outageQueue: after });
    await until(async () => (await after.waiting()).length === 0);
    expect(await charges()).toEqual([2]);
  });
});

describe('whatever the faults', () => {
  const fault = fc.constantFrom<Fault>('pass', 'lose_answer', 'cut', 'unavailable', 'bad_gateway');
  const call = fc.record({ used: fc.integer({ min: 1, max: 3 }), isLapsing: fc.boolean(), isOpen: fc.boolean() });

  test('a call that answered is charged once for what it used, one that threw before its work never', async () => {
    const path = join(folder, 'property.jsonl');
    await fc.assert(
      fc.asyncProperty(
        fc.array(fault, { maxLength: 40 }),
        fc.array(call, { minLength: 1, maxLength: 3 }),
        async (faults, calls) => {
          organization = await createOrganization(database.superuser, 'enterprise');
          const queue = await openFileQueue(path);
          const schedule = [...faults];
          proxy.decide(() => schedule.shift() ?? 'pass');
          const open = { ...OPEN, outageQueue: queue, attempts: 2 };
          const { tollgate } = client(open);
          let worked = 0;
          const ends = await Promise.allSettled(
            calls.map(({ used, isLapsing, isOpen }) =>
              tollgate.withTokens(
                isOpen ? 'generate_goal' : 'generate_leads',
                async (held) => {
                  if (isLapsing) await elapse(database.superuser, organization.organizationId, '1000 seconds');
                  held.use(used);
                  worked++;
                  return used;
                },
                { tokens: 3 },
              ),
            ),
          );
          // The process ends here, and another one takes the queue over while the first is perhaps still at it.
          const { tollgate: next } = client(open);
          await Promise.all([tollgate.outage.drain(), next.outage.drain()]);
          schedule.length = 0;
          await next.outage.drain();
          expect(await queue.waiting()).toEqual([]);
          expect(await queue.refused()).toEqual([]);
          tollgate.outage.close();
          next.outage.close();
          await queue.close();
          const answered = ends.flatMap((end) => (end.status === 'fulfilled' ? [end.value] : []));
          expect(worked).toBe(answered.length);
          expect((await charges()).toSorted()).toEqual(answered.toSorted());
        },
      ),
      { numRuns: 25 },
    );
  }, 60_000);
});
