import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { expectProblem, type Reply, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database, { maxQueued: 2 });
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await database.drop();
});

const hold = (idempotencyKey: string) =>
  api.call('/api/v1/holds', {
    key: organization.secret,
    json: { feature: 'generate_goal' },
    headers: { 'Idempotency-Key': idempotencyKey },
  });
const check = () =>
  api.call('/api/v1/tokens/check-balance', {
    key: organization.secret,
    json: { organizationId: organization.organizationId, featureUsed: 'generate_goal', action: 'check' },
  });

test('more callers than may wait get 503 with Retry-After and nothing done; the others are served', async () => {
  const locker = await database.superuser.connect();
  await locker.query('begin');
  await locker.query('select from tollgate.balances for update');
  const replies: Reply[] = [];
  const keys = Array.from({ length: 6 }, () => randomUUID());
  const holds = keys.map((key) => hold(key).then((reply) => replies.push(reply)));
  // One in flight and two that wait leave three.
  await until(() => replies.length === 3);
  for (const reply of [...replies, await check()]) {
    expectProblem(reply, 'ledger_busy');
    expect(reply.headers.get('retry-after')).toBe('1');
  }
  expect(await balanceOf(database.superuser, organization.organizationId, 'goal_generation')).toMatchObject({
    held: 0,
  });
  await locker.query('commit');
  locker.release();

  await Promise.all(holds);
  expect(replies.slice(3).map(({ status }) => status)).toEqual([201, 201, 201]);
  expect((await check()).body).toEqual({ hasTokens: true });
  // Under the same keys all six are there, each once.
  const repeats = await Promise.all([hold(keys[0]!), hold(keys[1]!)]);
  for (const key of keys.slice(2)) repeats.push(await hold(key));
  expect(repeats.map(({ status }) => status)).toEqual(keys.map(() => 201));
  expect(repeats.filter(({ headers }) => headers.has('idempotent-replayed'))).toHaveLength(3);
  expect(await balanceOf(database.superuser, organization.organizationId, 'goal_generation')).toMatchObject({
    held: 18,
  });
});
