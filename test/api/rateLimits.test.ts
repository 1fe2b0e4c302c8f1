import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { RateLimitConfig } from '../../api/rateLimits.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization } from '../support/organization.ts';
import { expectProblem, GOAL, startTestApi, traces } from './testApi.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

async function start(rateLimits: Partial<RateLimitConfig>) {
  const api = await startTestApi(database, { rateLimits });
  onTestFinished(() => api.close());
  return api;
}

const STRANGER = `tg_live_${'A'.repeat(43)}`;

test('a caller that asks too often is told when to come back, and nothing is done', async () => {
  const api = await start({ RATE_LIMIT_PER_CALLER: 3 });
  const organization = await createOrganization(database.superuser);
  const ask = () => api.call('/api/v1/balances', { key: organization.secret });
  const left = (headers: Headers) => /"caller";r=(\d+);t=(\d+)/.exec(headers.get('ratelimit')!)!.slice(1).map(Number);
  for (const remaining of [2, 1, 0]) {
    const reply = await ask();
    expect(reply.status).toBe(200);
    expect(reply.headers.get('ratelimit-policy')).toContain('"caller";q=3;w=10');
    expect(left(reply.headers)[0]).toBe(remaining);
  }
  const before = await traces(database, organization.organizationId);
  const refused = await api.post(organization, GOAL);
  expectProblem(refused, 'rate_limited');
  const retryAfter = Number(refused.headers.get('retry-after'));
  expect(retryAfter).toBeGreaterThan(0);
  expect(retryAfter).toBeLessThanOrEqual(10);
  expect(left(refused.headers)).toEqual([0, retryAfter]);
  expect(await traces(database, organization.organizationId)).toEqual(before);
});

test('a hundred at once are let through exactly as often as the limit says', async () => {
  const api = await start({ RATE_LIMIT_PER_CALLER: 40 });
  const organization = await createOrganization(database.superuser);
  const replies = await Promise.all(
    Array.from({ length: 100 }, () => api.call('/api/v1/balances', { key: organization.secret })),
  );
  expect(replies.filter(({ status }) => status === 200)).toHaveLength(40);
  expect(replies.filter(({ status }) => status === 429)).toHaveLength(60);
});

test('keys are counted apart, and all of an organization together', async () => {
  const api = await start({ RATE_LIMIT_PER_CALLER: 2, RATE_LIMIT_PER_ORGANIZATION: 3 });
  const [one, other] = [await createOrganization(database.superuser), await createOrganization(database.superuser)];
  const second = await createApiKey(database.superuser, { ...one, name: 'second', scopes: ['tokens:read'] });
  const statusOf = async (key: string) => (await api.call('/api/v1/balances', { key })).status;
  expect([await statusOf(one.secret), await statusOf(one.secret)]).toEqual([200, 200]);
  expect(await statusOf(one.secret)).toBe(429);
  expect([await statusOf(second.secret), await statusOf(second.secret)]).toEqual([200, 429]);
  expect(await statusOf(other.secret)).toBe(200);
});

test('S9: an address that sends wrong credentials too often is told to wait, and one with right ones never', async () => {
  const api = await start({ RATE_LIMIT_FAILURES_PER_ADDRESS: 2 });
  const organization = await createOrganization(database.superuser);
  const guess = () => api.call('/api/v1/balances', { key: STRANGER });
  expectProblem(await guess(), 'unauthorized');
  expectProblem(await guess(), 'unauthorized');
  expectProblem(await guess(), 'rate_limited');
  // What the sender says of himself does not make him another.
  expectProblem(
    await api.call('/api/v1/balances', { key: STRANGER, headers: { 'X-Forwarded-For': '203.0.113.7' } }),
    'rate_limited',
  );
  expect((await api.call('/api/v1/balances', { key: organization.secret })).status).toBe(200);
});

test('behind a proxy of one’s own an address is the one that the proxy saw', async () => {
  const api = await start({ RATE_LIMIT_FAILURES_PER_ADDRESS: 1, FORWARDED_HOPS: 1 });
  const guess = (forwarded: string) =>
    api.call('/api/v1/balances', { key: STRANGER, headers: { 'X-Forwarded-For': forwarded } });
  expectProblem(await guess('203.0.113.7'), 'unauthorized');
  expectProblem(await guess('198.51.100.9, 203.0.113.7'), 'rate_limited');
  expectProblem(await guess('203.0.113.7, 203.0.113.8'), 'unauthorized');
});

test('what asks for no credential is never counted', async () => {
  const api = await start({ RATE_LIMIT_PER_CALLER: 1, RATE_LIMIT_FAILURES_PER_ADDRESS: 1 });
  for (let n = 0; n < 5; n++) {
    const { status, headers } = await api.call('/healthz');
    expect([status, headers.get('ratelimit')]).toEqual([200, null]);
  }
});
