import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { endedHold, placedHold } from '../../contract/holds.ts';
import type { ProblemCode } from '../../contract/problems.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { expectProblem, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await database.drop();
});

const hold = (
  json: unknown = { feature: 'generate_goal' },
  { key = organization.secret, idempotencyKey = randomUUID() as string } = {},
) => api.call('/api/v1/holds', { key, json, headers: { 'Idempotency-Key': idempotencyKey } });
const capture = (id: string, json: unknown = {}, key = organization.secret) =>
  api.call(`/api/v1/holds/${id}/capture`, { key, json });
const release = (id: string, key = organization.secret) =>
  api.call(`/api/v1/holds/${id}/release`, { method: 'POST', key });
const goalTokens = async () => {
  const { available, held } = await balanceOf(database.superuser, organization.organizationId, 'goal_generation');
  return { available, held };
};

describe('a hold', () => {
  test('sets the feature’s price aside, or as much as is asked for, until it expires', async () => {
    const reply = await hold();
    expect(reply.status).toBe(201);
    const placed = placedHold.parse(reply.body);
    expect(placed).toMatchObject({ feature: 'generate_goal', tokenType: 'goal_generation', tokens: 3 });
    expect(Date.parse(placed.expiresAt) - Date.now()).toBeGreaterThan(890_000);
    expect((await hold({ feature: 'generate_goal', tokens: 10, lifetimeSeconds: 60 })).body.tokens).toBe(10);
    expect(await goalTokens()).toEqual({ available: 7, held: 13 });
  });

  test('that is captured charges what was used, and returns the rest', async () => {
    const { body } = await hold({ feature: 'generate_goal', tokens: 10 });
    const reply = await capture(body.id, { tokens: 4 });
    expect([reply.status, endedHold.parse(reply.body)]).toEqual([
      200,
      {
        id: body.id,
        state: 'captured',
        captured: 4,
        returned: 6,
        chargeId: `${body.id}.1`,
        capturedInAll: 4,
        links: { self: `/api/v1/holds/${body.id}`, refund: `/api/v1/charges/${body.id}.1/refund` },
      },
    ]);
    expect(await goalTokens()).toEqual({ available: 16, held: 0 });
  });

  test('I4 ends once: a repeat gets the recorded end, another end is refused', async () => {
    const { body } = await hold();
    const first = await capture(body.id);
    const repeat = await capture(body.id);
    expect([repeat.text, repeat.headers.get('idempotent-replayed')]).toEqual([first.text, 'true']);
    expectProblem(await release(body.id), 'hold_already_ended');
    expectProblem(await capture(body.id, { tokens: 2 }), 'hold_already_ended');
    const other = (await hold()).body.id;
    expect((await release(other)).body).toMatchObject({ state: 'released', captured: 0, returned: 3, chargeId: null });
    expect((await release(other)).body.state).toBe('released');
    expectProblem(await capture(other), 'hold_already_ended');
    expect(await goalTokens()).toEqual({ available: 17, held: 0 });
  });

  test('I8 that nobody ends lapses by itself', async () => {
    const { body } = await hold({ feature: 'generate_goal', lifetimeSeconds: 60 });
    await elapse(database.superuser, organization.organizationId, '2 minutes');
    expectProblem(await capture(body.id), 'hold_already_ended');
    expect((await release(body.id)).body.state).toBe('lapsed');
    expect(await goalTokens()).toEqual({ available: 20, held: 0 });
  });

  test('R4 asked for a hundred times under one key is one hold and a hundred equal answers', async () => {
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => hold(undefined, { idempotencyKey: 'hundredfold' })),
    );
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies[0]!.status).toBe(201);
    expect(await goalTokens()).toEqual({ available: 17, held: 3 });
  });

  test('R5 with the same key and another body is refused; another organization has the key for itself', async () => {
    await hold(undefined, { idempotencyKey: 'one' });
    expectProblem(
      await hold({ feature: 'generate_goal', tokens: 4 }, { idempotencyKey: 'one' }),
      'idempotency_key_reused',
    );
    const other = await createOrganization(database.superuser);
    expect(
      (await hold(undefined, { key: other.secret, idempotencyKey: 'one' })).headers.get('idempotent-replayed'),
    ).toBe(null);
    expect(await goalTokens()).toEqual({ available: 17, held: 3 });
  });

  test('R1 a hundred at once on the last tokens are admitted as far as the balance goes', async () => {
    const replies = await Promise.all(Array.from({ length: 100 }, () => hold()));
    expect(replies.filter(({ status }) => status === 201)).toHaveLength(6);
    for (const reply of replies.filter(({ status }) => status !== 201)) {
      expect(expectProblem(reply, 'tokens_insufficient')).toMatchObject({
        required: 3,
        available: 2,
        tokenType: 'goal_generation',
      });
    }
  });
});

describe('is refused, with nothing written and nothing held:', () => {
  let untouched: unknown;
  beforeEach(async () => {
    untouched = await traces(database, organization.organizationId);
  });
  afterEach(async () => {
    expect(await traces(database, organization.organizationId)).toEqual(untouched);
  });

  test.each<[string, unknown, ProblemCode]>([
    ['an unknown feature', { feature: 'generate_money' }, 'feature_unknown'],
    ['no feature', {}, 'invalid_request'],
    ['S6 an organization', { feature: 'generate_goal', organizationId: 'x' }, 'invalid_request'],
    ...[0, -1, 1.5, 2 ** 53, '1', true, null, []].map((tokens): [string, unknown, ProblemCode] => [
      `S4 ${JSON.stringify(tokens)} tokens`,
      { feature: 'generate_goal', tokens },
      'invalid_request',
    ]),
    ['a lifetime of two days', { feature: 'generate_goal', lifetimeSeconds: 172_800 }, 'invalid_request'],
    ['more than there is', { feature: 'generate_goal', tokens: Number.MAX_SAFE_INTEGER }, 'tokens_insufficient'],
  ])('%s', async (_, json, code) => {
    expectProblem(await hold(json), code);
  });

  test('a starter plan', async () => {
    const starter = await createOrganization(database.superuser, 'starter');
    expectProblem(await hold(undefined, { key: starter.secret }), 'feature_not_available');
  });

  test('no Idempotency-Key, no credentials, and a key without the scope', async () => {
    const json = { feature: 'generate_goal' };
    expectProblem(await api.call('/api/v1/holds', { key: organization.secret, json }), 'idempotency_key_missing');
    expectProblem(await api.call('/api/v1/holds', { json }), 'unauthorized');
    const reader = await createApiKey(database.superuser, { ...organization, name: 'reader', scopes: ['tokens:read'] });
    for (const reply of [
      await hold(json, { key: reader.secret }),
      await capture('x', {}, reader.secret),
      await release('x', reader.secret),
    ]) {
      expect(expectProblem(reply, 'scope_missing').scope).toBe('tokens:write');
    }
  });

  test('R7 the end of an unknown hold, of one whose id is none, and of more than is held', async () => {
    for (const id of ['unknown', "x'--", 'x'.repeat(65)]) {
      expectProblem(await capture(encodeURIComponent(id)), 'hold_not_found');
      expectProblem(await release(encodeURIComponent(id)), 'hold_not_found');
    }
    const other = await createOrganization(database.superuser);
    const { body } = await hold(undefined, { key: other.secret });
    expectProblem(await capture(body.id, { tokens: 4 }, other.secret), 'amount_above_hold');
    expectProblem(await capture(body.id, { tokens: 0 }, other.secret), 'invalid_request');
  });

  test('I9 the end of another organization’s hold, which stays as it is', async () => {
    const other = await createOrganization(database.superuser);
    const { body } = await hold(undefined, { key: other.secret });
    expectProblem(await capture(body.id), 'hold_not_found');
    expectProblem(await release(body.id), 'hold_not_found');
    expect((await capture(body.id, {}, other.secret)).body.captured).toBe(3);
  });

  test('the end of a job’s hold, which the job ends itself', async () => {
    const other = await createOrganization(database.superuser);
    const { body } = await api.post(other);
    expectProblem(await release(body.id, other.secret), 'hold_already_ended');
    expectProblem(await capture(body.id, {}, other.secret), 'hold_already_ended');
  });
});
