import { createTollgate, isTollgateError, type Tollgate, type TollgateOptions } from '@tollgate/sdk';
import type { HeldTokens } from '@tollgate/sdk/withTokens';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
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
let tollgate: Tollgate;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  proxy = await startFaultyProxy(api.url);
});
beforeEach(async () => {
  proxy.decide(() => 'pass');
  proxy.seen.length = 0;
  organization = await createOrganization(database.superuser);
  tollgate = client();
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await proxy.close();
  await api.close();
  await database.drop();
});

function client(more: Partial<TollgateOptions> = {}): Tollgate {
  return createTollgate({ url: proxy.url, apiKey: organization.secret, backOffMs: 2, ...more });
}

const goals = () => balanceOf(database.superuser, organization.organizationId, 'goal_generation');
const asked = (step: string) => proxy.seen.filter(({ path }) => path.endsWith(step)).length;

/** Resolves with the signal's reason. */
function abortOf(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(signal.reason)));
}

describe('while the work runs', () => {
  test('its hold is extended before it lapses, and no more once the work is over', async () => {
    await tollgate.withTokens('generate_goal', () => until(() => asked('/extend') >= 2), { lifetimeSeconds: 3 });
    const first = proxy.seen.find(({ path }) => path.endsWith('/extend'))!.path;
    const ofFirst = () => proxy.seen.filter(({ path }) => path === first).length;
    const extensions = ofFirst();
    expect(await goals()).toMatchObject({ available: 17, held: 0 });
    // As long as another call is extended twice, the first one would have been too.
    proxy.seen.length = 0;
    await tollgate.withTokens('generate_goal', () => until(() => asked('/extend') >= 2), { lifetimeSeconds: 3 });
    expect([extensions, ofFirst()]).toEqual([2, 0]);
  });

  test('an extension that fails is tried again, and the hold lives on', async () => {
    let failures = 0;
    proxy.decide(({ path }) => (path.endsWith('/extend') && failures++ < 5 ? 'cut' : 'pass'));
    const isLapsed = await tollgate.withTokens(
      'generate_goal',
      async (held) => {
        await until(() => failures > 5);
        return held.isLapsed;
      },
      { lifetimeSeconds: 3 },
    );
    expect([isLapsed, (await goals()).available]).toEqual([false, 17]);
  });

  test('the work is told when Tollgate says that the hold is gone, and is charged once if it is done all the same', async () => {
    const used = await tollgate.withTokens(
      'generate_goal',
      async (held) => {
        const aborted = abortOf(held.signal);
        await elapse(database.superuser, organization.organizationId, '2 seconds');
        expect(isTollgateError(await aborted, 'hold_lapsed')).toBe(true);
        expect(held.isLapsed).toBe(true);
        held.use(2);
        return 2;
      },
      { lifetimeSeconds: 1, idempotencyKey: 'late' },
    );
    expect([used, await goals()]).toEqual([2, { available: 18, held: 0, owed: 0 }]);
    expect(proxy.seen.filter(({ path }) => path === '/api/v1/holds').map(({ key }) => key)).toEqual(['late', 'late~1']);
  });

  test('the work is told when no extension has got through for a lifetime; work that stops then is not charged', async () => {
    proxy.decide(({ path }) => (path.endsWith('/extend') ? 'cut' : 'pass'));
    const work = tollgate.withTokens('generate_goal', async (held) => Promise.reject(await abortOf(held.signal)), {
      lifetimeSeconds: 1,
    });
    await expect(work).rejects.toMatchObject({ code: 'hold_lapsed' });
    await elapse(database.superuser, organization.organizationId, '2 seconds');
    expect(
      (await tollgate.balances.get()).balances.find(({ tokenType }) => tokenType === 'goal_generation'),
    ).toMatchObject({
      available: 20,
      held: 0,
    });
  });

  test('late work that nobody can pay any more throws, and says that it was done', async () => {
    const late = tollgate.withTokens('generate_goal', async () => {
      await elapse(database.superuser, organization.organizationId, '1000 seconds');
      await database.superuser.query('update ai_tokens set balance = 2 where organization_id = $1', [
        organization.organizationId,
      ]);
    });
    await expect(late).rejects.toMatchObject({ code: 'tokens_insufficient', isAfterWork: true });
    const never = tollgate.withTokens('generate_goal', () => Promise.reject(new Error('the work was done')));
    await expect(never).rejects.toMatchObject({ code: 'tokens_insufficient', isAfterWork: false });
    expect((await goals()).available).toBe(2);
  });

  test('it can set more aside, and is refused what cannot be had without losing what it has', async () => {
    await tollgate.withTokens('generate_goal', async (held) => {
      await held.grow(5);
      expect(held.tokens).toBe(8);
      await expect(held.grow(100)).rejects.toMatchObject({ code: 'tokens_insufficient' });
      await expect(held.grow(0)).rejects.toThrow(RangeError);
      expect(held.tokens).toBe(8);
      held.use(7);
    });
    expect(await goals()).toMatchObject({ available: 13, held: 0 });
  });

  test('an answer to a growth that is lost is asked for again: it grows once', async () => {
    let lost = 0;
    proxy.decide(({ path }) => (path.endsWith('/grow') && lost++ < 2 ? 'lose_answer' : 'pass'));
    const tokens = await tollgate.withTokens('generate_goal', async (held) => {
      await held.grow(5);
      return held.tokens;
    });
    expect([tokens, (await goals()).available]).toEqual([8, 12]);
  });
});

describe('an abort', () => {
  test('before the hold is there throws at once, and what was placed meanwhile is given back', async () => {
    const stop = new Error('enough');
    const aborted = new AbortController();
    let placed = () => {};
    const isPlaced = new Promise<void>((resolve) => {
      placed = resolve;
    });
    proxy.decide(async ({ path }): Promise<Fault> => {
      if (path !== '/api/v1/holds') return 'pass';
      aborted.abort(stop);
      await isPlaced;
      return 'pass';
    });
    const never = () => Promise.reject(new Error('the work was done'));
    await expect(tollgate.withTokens('generate_goal', never, { signal: aborted.signal })).rejects.toBe(stop);
    placed();
    await until(() => asked('/release') === 1);
    await until(async () => (await goals()).available === 20);
    await expect(tollgate.withTokens('generate_goal', never, { signal: aborted.signal })).rejects.toBe(stop);
  });

  test.each([
    ['work that stops', (signal: AbortSignal) => abortOf(signal).then((reason) => Promise.reject(reason))],
    ['work that does not listen', (signal: AbortSignal) => abortOf(signal).then(() => 'done')],
  ])('gives the tokens back once the work is over: %s', async (_, work) => {
    const stop = new Error('enough');
    const aborted = new AbortController();
    const begun = ({ signal }: HeldTokens) => {
      queueMicrotask(() => aborted.abort(stop));
      return work(signal);
    };
    const run = tollgate.withTokens('generate_goal', begun, { signal: aborted.signal });
    await expect(run).rejects.toBe(stop);
    expect(await goals()).toMatchObject({ available: 20, held: 0 });
  });
});

describe('faults', () => {
  test('a capture whose answer is lost is repeated: one charge', async () => {
    let captures = 0;
    proxy.decide(({ path }) => (path.endsWith('/capture') && ++captures < 3 ? 'lose_answer' : 'pass'));
    await tollgate.withTokens('generate_goal', async (held) => held.use(2));
    expect([captures, await goals()]).toEqual([3, { available: 18, held: 0, owed: 0 }]);
  });

  test('without a queue a charge that cannot be made is thrown, with the key; what it left in doubt is charged by nobody', async () => {
    proxy.decide(({ path }) => (path.endsWith('/capture') ? 'cut' : 'pass'));
    const run = tollgate.withTokens('generate_goal', async () => 'done', { idempotencyKey: 'mine' });
    await expect(run).rejects.toMatchObject({ code: 'unreachable', isAfterWork: true });
    expect(await goals()).toMatchObject({ available: 17, held: 3 });
  });

  test('nested and parallel calls have each its own hold and its own charge', async () => {
    const one = () =>
      tollgate.withTokens('generate_goal', async (outer) => {
        await tollgate.withTokens('generate_goal', async (inner) => inner.use(1));
        outer.use(2);
      });
    await Promise.all([one(), one(), one()]);
    await expect(
      tollgate.withTokens('generate_goal', () =>
        tollgate.withTokens('generate_goal', () => Promise.reject(new Error('inner'))),
      ),
    ).rejects.toThrow('inner');
    expect(await goals()).toMatchObject({ available: 11, held: 0 });
  });

  test('a key that leaves no room for what follows from it is refused', async () => {
    const run = tollgate.withTokens('generate_goal', async () => {}, { idempotencyKey: 'x'.repeat(241) });
    await expect(run).rejects.toThrow(RangeError);
  });
});
