import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createTollgate, isTollgateError, type Tollgate } from '@tollgate/sdk';
import { afterAll, beforeAll, describe, expect, expectTypeOf, onTestFinished, test } from 'vitest';
import { OPERATIONS } from '../../contract/operations.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { type FaultyProxy, startFaultyProxy } from './faultyProxy.ts';

let database: TestDatabase;
let api: TestApi;
let proxy: FaultyProxy;
let organization: TestOrganization;
let tollgate: Tollgate;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  proxy = await startFaultyProxy(api.url);
  organization = await createOrganization(database.superuser);
  tollgate = createTollgate({ url: proxy.url, apiKey: organization.secret, backOffMs: 5 });
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await proxy.close();
  await api.close();
  await database.drop();
});

describe('a function for everything that can be asked for', () => {
  /** Operations that the client does not have yet. It only ever gets shorter. */
  const NOT_YET: readonly string[] = [];

  test('the client has each operation of the table, and nothing else', () => {
    const groups = Object.values(tollgate).filter((group) => typeof group === 'object');
    const routes = groups.flatMap((group) =>
      Object.values(group as Record<string, { route?: string }>).flatMap(({ route }) => route ?? []),
    );
    const table = OPERATIONS.filter(({ id }) => !NOT_YET.includes(id)).map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(routes)].toSorted()).toEqual([...new Set(table)].toSorted());
  });

  test('types are those of the contract, per operation', () => {
    // @ts-expect-error no such feature
    () => tollgate.holds.place({ feature: 'generate_money' });
    // @ts-expect-error no such field
    () => tollgate.holds.place({ feature: 'generate_goal', price: 3 });
    // @ts-expect-error the input of another feature
    () => tollgate.jobs.run('generate_goal', { topic: 'x' });
    // @ts-expect-error a month is asked for
    () => tollgate.statements.get();
    const run = () => tollgate.jobs.run('generate_goal', { industry: 'bicycles', horizonMonths: 6 });
    expectTypeOf<Awaited<ReturnType<typeof run>>['measures']>().toEqualTypeOf<{ name: string; target: string }[]>();
    expectTypeOf<Awaited<ReturnType<typeof tollgate.holds.capture>>['capturedInAll']>().toEqualTypeOf<number>();
  });

  test('holds, charges, quotes, balances, ledger, statements, health: each is asked for as the API takes it', async () => {
    const hold = await tollgate.holds.place({ feature: 'generate_leads', tokens: 10 });
    expect(await tollgate.holds.extend(hold.id, { lifetimeSeconds: 1_800 })).toMatchObject({ state: 'held' });
    expect(await tollgate.holds.grow(hold.id, { tokens: 5 })).toMatchObject({ tokens: 15 });
    const part = await tollgate.holds.capture(hold.id, { tokens: 4, isLast: false });
    expect(await tollgate.charges.refund(part.chargeId!, { tokens: 1, reason: 'A duplicate.' })).toMatchObject({
      refunded: 1,
    });
    expect(await tollgate.holds.capture(hold.id, { tokens: 3 })).toMatchObject({ capturedInAll: 7 });
    expect(await tollgate.holds.get(hold.id)).toMatchObject({ state: 'captured', open: 0 });
    const other = await tollgate.holds.place({ feature: 'generate_leads' }, { idempotencyKey: 'mine' });
    expect(await tollgate.holds.place({ feature: 'generate_leads' }, { idempotencyKey: 'mine' })).toEqual(other);
    expect(await tollgate.holds.release(other.id)).toMatchObject({ state: 'released' });
    expect(await tollgate.quotes.get({ feature: 'generate_goal' })).toMatchObject({ outcome: 'held', tokens: 3 });
    const [now] = (await tollgate.balances.get()).balances;
    expect(now!.grants.length).toBeGreaterThan(0);
    expect((await tollgate.balances.get({ at: '2026-01-01T00:00:00Z' })).at).toBe('2026-01-01T00:00:00Z');
    expect((await tollgate.ledger.heads()).heads).toBeInstanceOf(Array);
    const csv = await tollgate.ledger.export({ format: 'csv', tokenType: 'lead_generation' });
    expect((await csv.text()).split('\r\n').length).toBeGreaterThan(5);
    expect((await tollgate.statements.get({ month: '2026-01' })).month).toBe('2026-01');
    expect(await tollgate.health.alive()).toEqual({ status: 'alive' });
    expect(await tollgate.health.ready()).toMatchObject({ database: 'reachable' });
    const { organizationId } = organization;
    const check = { organizationId, featureUsed: 'generate_goal', action: 'check' } as const;
    expect((await tollgate.tokens.checkBalance(check)).hasTokens).toBe(true);
    expect((await tollgate.tokens.stats({ organizationId })).byType).toHaveLength(5);
  });

  test('organizations, members, keys, limits, usage, audit: each is asked for as the API takes it', async () => {
    const { organizationId } = organization;
    expect(await tollgate.organizations.rename(organizationId, { name: 'Renamed' })).toMatchObject({ name: 'Renamed' });
    expect(await tollgate.organizations.get(organizationId)).toMatchObject({ plan: 'pro' });
    const userId = `ann-${organizationId}`;
    await tollgate.members.set(organizationId, userId, { role: 'admin' });
    await tollgate.members.set(organizationId, `bob-${organizationId}`, { role: 'admin' });
    const members = [];
    for await (const member of tollgate.members.list(organizationId, { limit: 1 })) members.push(member.userId);
    expect(members).toEqual([userId, `bob-${organizationId}`]);
    // What is gone is gone, though the answer that said so was lost.
    let removals = 0;
    proxy.decide(({ method }) => (method === 'DELETE' && ++removals === 1 ? 'lose_answer' : 'pass'));
    expect(await tollgate.members.remove(organizationId, userId)).toBeUndefined();
    proxy.decide(() => 'pass');
    await expect(tollgate.members.remove(organizationId, userId)).rejects.toMatchObject({ code: 'member_not_found' });
    const key = await tollgate.keys.create(organizationId, { name: 'another', scopes: ['tokens:read'] });
    const other = createTollgate({ url: proxy.url, apiKey: key.secret });
    expect((await other.balances.get()).balances).toHaveLength(5);
    await tollgate.keys.revoke(organizationId, key.id);
    await expect(other.balances.get()).rejects.toMatchObject({ code: 'unauthorized' });
    expect((await tollgate.limits.list(organizationId)).limits).toEqual([]);
    const days = { interval: 'day', from: '2026-01-05T00:00:00Z', to: '2026-01-07T00:00:00Z' } as const;
    expect((await tollgate.usage.series(days)).buckets.length).toBeGreaterThan(0);
    expect(await (await tollgate.usage.seriesFile({ ...days, format: 'csv' })).text()).toContain('startsAt');
    const acts = [];
    for await (const { act } of tollgate.audit.list(organizationId)) acts.push(act);
    expect(acts).toContain('removeMember');
    await expect(tollgate.organizations.list().page()).rejects.toMatchObject({ code: 'operators_only' });
    expect((await tollgate.reference.openApi()).openapi).toMatch(/^3\.1/);
  });

  test('an API that is not ready answers that, and is not in trouble', async () => {
    const draining = await startTestApi(database);
    onTestFinished(() => draining.close());
    draining.drain();
    const direct = createTollgate({ url: draining.url });
    expect(await direct.health.ready()).toMatchObject({ status: 'draining' });
  });

  test('many rows at once are answered row by row, each under a key of its own', async () => {
    const rows = await tollgate.holds.placeMany([
      { feature: 'generate_insight' },
      { feature: 'generate_insight', tokens: 1_000 },
      { feature: 'generate_insight', key: 'third' },
    ]);
    expect(rows).toMatchObject([{ tokens: 1 }, { code: 'tokens_insufficient', required: 1_000 }, { key: 'third' }]);
    const ids = rows.flatMap((row) => ('code' in row ? [] : [{ id: row.id }]));
    expect(await tollgate.holds.growMany([{ ...ids[0]!, tokens: 1 }])).toMatchObject([{ tokens: 2 }]);
    expect(await tollgate.holds.extendMany([{ ...ids[0]!, lifetimeSeconds: 60 }])).toMatchObject([{ state: 'held' }]);
    expect(await tollgate.holds.captureMany([{ ...ids[0]!, tokens: 1 }])).toMatchObject([{ state: 'captured' }]);
    expect(await tollgate.holds.releaseMany(ids)).toMatchObject([
      { code: 'hold_already_ended' },
      { state: 'released' },
    ]);
    expect(await tollgate.quotes.getMany([{ feature: 'generate_goal', quantity: 2 }])).toMatchObject([{ tokens: 6 }]);
  });

  test('an id that could be another address stays one: it is encoded, and an empty one is refused here', async () => {
    await expect(tollgate.holds.get('../balances')).rejects.toMatchObject({ code: 'hold_not_found' });
    await expect(tollgate.holds.get('')).rejects.toThrow('holdId is missing');
  });
});

describe('lists', () => {
  test('are read page by page, each item once, and no further than asked', async () => {
    const { secret } = await createOrganization(database.superuser);
    const client = createTollgate({ url: proxy.url, apiKey: secret });
    for (let made = 0; made < 5; made++) await client.holds.place({ feature: 'generate_insight' });
    const ids: string[] = [];
    for await (const hold of client.holds.list({ limit: 2, state: 'held' })) ids.push(hold.id);
    expect(new Set(ids).size).toBe(5);
    proxy.seen.length = 0;
    for await (const hold of client.holds.list({ limit: 2 })) if (hold.id === ids[1]) break;
    expect(proxy.seen).toHaveLength(1);
    const first = await client.holds.list({ limit: 2 }).page();
    const second = await client.holds.list({ limit: 2, cursor: first.nextCursor! }).page();
    expect([...first.holds, ...second.holds].map(({ id }) => id)).toEqual(ids.slice(0, 4));
    const entries = [];
    for await (const { entryNumber } of client.ledger.list({ tokenType: 'general', limit: 3, order: 'oldest' }))
      entries.push(entryNumber);
    expect(entries).toEqual([1, 2, 3, 4, 5, 6]);
    for await (const _ of client.jobs.list({ state: 'charged' })) expect.unreachable();
  });
});

describe('repeats', () => {
  test('a write whose answers are lost is sent again under the same key, and done once', async () => {
    let asked = 0;
    proxy.decide(() => (++asked < 3 ? 'lose_answer' : 'pass'));
    onTestFinished(() => proxy.decide(() => 'pass'));
    proxy.seen.length = 0;
    const { id } = await tollgate.holds.place({ feature: 'generate_insight' });
    expect([proxy.seen.length, new Set(proxy.seen.map(({ key }) => key)).size]).toEqual([3, 1]);
    expect(await tollgate.holds.release(id)).toMatchObject({ state: 'released', returned: 1 });
  });

  test.each([
    ['seconds', () => ({ 'retry-after': '1' })],
    ['a date, by the clock of whoever wrote it', () => ({ date: at(-3_600_000), 'retry-after': at(-3_599_000) })],
  ])('Retry-After is waited for: %s', async (_, headers) => {
    const server = await answering((asked, response) => {
      if (asked > 1) return response.end('{"status":"alive"}');
      return response.writeHead(429, headers()).end('{"code":"rate_limited","detail":"Later.","status":429}');
    });
    const begun = performance.now();
    await createTollgate({ url: server.url, backOffMs: 1 }).health.alive();
    const waitedMs = performance.now() - begun;
    expect(waitedMs).toBeGreaterThan(900);
    expect(waitedMs).toBeLessThan(3_000);
  });

  test('a pause that would pass the deadline is not begun: what was answered is thrown at once', async () => {
    const server = await answering((_, response) =>
      response.writeHead(429, { 'retry-after': '60' }).end('{"code":"rate_limited","detail":"Later.","status":429}'),
    );
    const client = createTollgate({ url: server.url, deadlineMs: 5_000 });
    await expect(client.health.alive()).rejects.toMatchObject({ code: 'rate_limited', status: 429 });
    expect(server.count()).toBe(1);
  });

  test('the deadline bounds the call, however long each attempt may take', async () => {
    const server = await answering(() => {});
    const begun = performance.now();
    const asked = createTollgate({ url: server.url }).health.alive({ deadlineMs: 300 });
    await expect(asked).rejects.toMatchObject({ code: 'unreachable', isOutage: true, cause: { name: 'TimeoutError' } });
    expect(performance.now() - begun).toBeLessThan(2_000);
  });

  test('an abort ends a call at once with the signal’s reason: before it, in an attempt, in a pause', async () => {
    const stop = new Error('enough');
    await expect(tollgate.health.alive({ signal: AbortSignal.abort(stop) })).rejects.toBe(stop);
    for (const reply of [
      () => {},
      (_: number, response: ServerResponse) => void response.writeHead(503, { 'retry-after': '50' }).end(),
    ]) {
      const server = await answering(reply);
      const aborted = new AbortController();
      const asked = createTollgate({ url: server.url }).health.alive({ signal: aborted.signal });
      await server.first;
      setTimeout(() => aborted.abort(stop), 20);
      await expect(asked).rejects.toBe(stop);
    }
  });

  test('what may have been done and has no key is not sent twice; what was turned away at the door is', async () => {
    // None of today's operations is such a one, so the connection itself is asked.
    const { connect } = await import('../../sdk/connection.ts');
    for (const [status, times] of [
      [503, 1],
      [429, 3],
    ] as const) {
      const server = await answering((asked, response) => {
        response
          .writeHead(asked < 3 ? status : 200)
          .end(asked < 3 ? `{"code":"x","detail":"","status":${status}}` : '{}');
      });
      const connection = connect({ url: server.url, backOffMs: 1 });
      await connection.send({ method: 'post', path: '/', body: {}, isRepeatable: false }).catch(() => {});
      expect(server.count()).toBe(times);
    }
  });

  test('a refusal is not repeated', async () => {
    proxy.seen.length = 0;
    await expect(tollgate.holds.place({ feature: 'generate_goal', tokens: 21 })).rejects.toMatchObject({ status: 402 });
    expect(proxy.seen).toHaveLength(1);
  });
});

describe('errors', () => {
  test('isTollgateError tells a code and what goes with it', async () => {
    const error = await tollgate.holds
      .place({ feature: 'generate_goal', tokens: 21 })
      .catch((thrown: unknown) => thrown);
    expect(isTollgateError(error)).toBe(true);
    expect(isTollgateError(error, 'feature_not_available')).toBe(false);
    if (!isTollgateError(error, 'tokens_insufficient')) throw error;
    expectTypeOf(error.available).toEqualTypeOf<number | undefined>();
    expect([error.required, error.available, error.tokenType]).toEqual([21, 20, 'goal_generation']);
    expect(isTollgateError(new Error('tokens_insufficient'))).toBe(false);
    const invalid = await tollgate.holds
      .place({ feature: 'generate_goal', tokens: 0 })
      .catch((thrown: unknown) => thrown);
    if (!isTollgateError(invalid, 'invalid_request')) throw invalid;
    expect(invalid.errors[0]!.path).toBe('tokens');
  });

  test('an operator’s reason goes with the call', async () => {
    let reason: unknown;
    const server = await answering((_, response, request) => {
      reason = request.headers['tollgate-reason'];
      response.end('{"status":"alive"}');
    });
    await createTollgate({ url: server.url }).health.alive({ reason: 'A customer asked.' });
    expect(reason).toBe('A customer asked.');
  });
});

function at(ms: number): string {
  return new Date(Math.ceil(Date.now() / 1_000) * 1_000 + ms).toUTCString();
}

/** A server that is told what to answer to its first request, its second, … */
async function answering(reply: (asked: number, response: ServerResponse, request: IncomingMessage) => unknown) {
  let asked = 0;
  let arrived = () => {};
  const first = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const server = createServer((request, response) => {
    arrived();
    reply(++asked, response, request);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, count: () => asked, first };
}
