import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { endedHold, extendedHold, grownHold } from '../../contract/holds.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { type HoldLane, holdLaneOf, NO_AMOUNTS } from './holdLane.ts';
import { expectProblem, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let lane: HoldLane;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  lane = holdLaneOf(api, organization);
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await database.drop();
});

const leads = async ({ organizationId } = organization) => {
  const { available, held } = await balanceOf(database.superuser, organizationId, 'lead_generation');
  return [available, held];
};

describe('a capture of a part', () => {
  test('charges it and leaves the hold open; the last one ends it and returns the rest', async () => {
    const id = await lane.holdId(10);
    const part = await lane.capture(id, { tokens: 3, isLast: false }, 'part-1');
    expect(endedHold.parse(part.body)).toMatchObject({
      state: 'held',
      captured: 3,
      returned: 0,
      chargeId: `${id}.1`,
      capturedInAll: 3,
    });
    expect((await lane.capture(id, { tokens: 2, isLast: false }, 'part-2')).body).toMatchObject({
      chargeId: `${id}.2`,
      capturedInAll: 5,
    });
    expect(await leads()).toEqual([40, 5]);
    expect((await lane.capture(id, { tokens: 1 })).body).toMatchObject({
      state: 'captured',
      captured: 1,
      returned: 4,
      chargeId: `${id}.3`,
      capturedInAll: 6,
    });
    expect(await leads()).toEqual([44, 0]);
  });

  test('R4 repeated a hundred times under its key is one charge', async () => {
    const id = await lane.holdId(10);
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => lane.capture(id, { tokens: 3, isLast: false }, 'part')),
    );
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies[0]!.status).toBe(200);
    expect(await leads()).toEqual([40, 7]);
  });

  test('R5 under the key of another part is refused; without a key too, and nothing is charged', async () => {
    const id = await lane.holdId(10);
    await lane.capture(id, { tokens: 3, isLast: false }, 'part');
    expectProblem(await lane.capture(id, { tokens: 4, isLast: false }, 'part'), 'idempotency_key_reused');
    expectProblem(await lane.capture(id, { tokens: 4, isLast: false }), 'idempotency_key_missing');
    expectProblem(await lane.capture(id, { isLast: false }, 'x'.repeat(256)), 'idempotency_key_invalid');
    expect(await leads()).toEqual([40, 7]);
  });

  test('a hold of which parts were charged is released for the rest', async () => {
    const id = await lane.holdId(10);
    await lane.capture(id, { tokens: 3, isLast: false }, 'part');
    expect((await lane.release(id)).body).toMatchObject({ state: 'released', returned: 7, capturedInAll: 3 });
    expect(await leads()).toEqual([47, 0]);
  });

  test('more than is held is refused, or goes by what the organization wants', async () => {
    const id = await lane.holdId(5);
    expectProblem(await lane.capture(id, { tokens: 6, isLast: false }, 'part'), 'amount_above_hold');
    const rule = (name: string) =>
      database.superuser.query('select tollgate.set_capture_rule($1, $2)', [organization.organizationId, name]);
    await rule('draw');
    expect((await lane.capture(id, { tokens: 6, isLast: false }, 'part')).body).toMatchObject({ captured: 6 });
    // Everything of the hold is charged already, so all of it would be drawn from the balance.
    const missing = { required: 45, available: 44, tokenType: 'lead_generation' };
    expect(expectProblem(await lane.capture(id, { tokens: 45 }), 'tokens_insufficient')).toMatchObject(missing);
    const larger = await lane.holdId(10);
    expect((await lane.rows('holds/capture', [{ id: larger, tokens: 50 }])).body).toMatchObject([
      { code: 'tokens_insufficient', required: 40, available: 34, tokenType: 'lead_generation' },
    ]);
    await lane.release(larger);
    await rule('cap');
    const other = await lane.holdId(5);
    const capped = await lane.capture(other, { tokens: 7 });
    expect(capped.body).toMatchObject({ captured: 5, returned: 0 });
    expect((await lane.capture(other, { tokens: 7 })).text).toBe(capped.text);
    await lane.release(id);
  });
});

describe('an extension', () => {
  test('lets a hold live on, and never shortens its life', async () => {
    const id = await lane.holdId(5, { lifetimeSeconds: 60 });
    const reply = await lane.extend(id, 600);
    expect([reply.status, extendedHold.parse(reply.body).state]).toEqual([200, 'held']);
    await elapse(database.superuser, organization.organizationId, '2 minutes');
    const { expiresAt } = (await lane.extend(id, 1)).body;
    expect(Date.parse(expiresAt) - Date.now()).toBeGreaterThan(400_000);
    expect((await lane.capture(id)).status).toBe(200);
  });

  test('I8 comes too late for a hold that has lapsed', async () => {
    const id = await lane.holdId(5, { lifetimeSeconds: 60 });
    await elapse(database.superuser, organization.organizationId, '2 minutes');
    expectProblem(await lane.extend(id, 600), 'hold_already_ended');
    await lane.release(id);
    expect(await leads()).toEqual([50, 0]);
  });
});

describe('growth', () => {
  test('sets more tokens aside, once for each key', async () => {
    const id = await lane.holdId(5);
    const first = await lane.grow(id, { tokens: 10 }, 'more');
    expect(grownHold.parse(first.body)).toEqual({ id, state: 'held', tokens: 15, available: 35 });
    const replies = await Promise.all(Array.from({ length: 100 }, () => lane.grow(id, { tokens: 10 }, 'more')));
    expect(new Set(replies.map(({ text }) => text))).toEqual(new Set([first.text]));
    expect(replies.every(({ headers }) => headers.get('idempotent-replayed') === 'true')).toBe(true);
    expect(await leads()).toEqual([35, 15]);
    expectProblem(await lane.grow(id, { tokens: 11 }, 'more'), 'idempotency_key_reused');
  });

  test('R1 a hundred at once take what there is and no more', async () => {
    const id = await lane.holdId(5);
    const replies = await Promise.all(Array.from({ length: 100 }, () => lane.grow(id, { tokens: 2 })));
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(22);
    expect(await leads()).toEqual([1, 49]);
    expect(expectProblem(await lane.grow(id, { tokens: 2 }), 'tokens_insufficient')).toMatchObject({
      required: 2,
      available: 1,
      tokenType: 'lead_generation',
    });
  });

  test('whose sum is no amount any more is refused as what it is, and nothing moves', async () => {
    const id = await lane.holdId(5);
    expectProblem(await lane.grow(id, { tokens: Number.MAX_SAFE_INTEGER }), 'invalid_request');
    expect(await leads()).toEqual([45, 5]);
  });

  test('is refused where the plan has lost the feature, a limit is reached, or the hold has ended', async () => {
    const id = await lane.holdId(5);
    await database.superuser.query(
      `select tollgate.set_sub_limit($1, 'lead_generation', 'feature', 'generate_leads', 'day', 6)`,
      [organization.organizationId],
    );
    const limited = await lane.holdId(6);
    expectProblem(await lane.grow(limited, { tokens: 1 }), 'limit_reached');
    expectProblem(await lane.hold({ feature: 'generate_leads', tokens: 1 }), 'limit_reached');
    await lane.release(limited);
    await database.superuser.query(`update public.organizations set plan = 'starter' where id = $1`, [
      organization.organizationId,
    ]);
    expectProblem(await lane.grow(id, { tokens: 1 }), 'feature_not_available');
    await lane.release(id);
    expectProblem(await lane.grow(id, { tokens: 1 }), 'hold_already_ended');
  });
});

describe('is refused, with nothing written and nothing moved:', () => {
  const STEPS = [
    ['capture', 'tokens'],
    ['grow', 'tokens'],
    ['extend', 'lifetimeSeconds'],
  ] as const;

  test.each(STEPS.flatMap(([step, field]) => NO_AMOUNTS.map((amount) => [step, field, amount] as const)))(
    'S4 %s with %s %s',
    async (step, field, amount) => {
      const id = await lane.holdId(5);
      const untouched = await traces(database, organization.organizationId);
      const reply = await api.call(`/api/v1/holds/${id}/${step}`, {
        key: organization.secret,
        headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID() },
        body: `{"${field}":${amount}}`,
      });
      expect(expectProblem(reply, 'invalid_request').errors?.[0]?.path).toBe(field);
      expect(await traces(database, organization.organizationId)).toEqual(untouched);
    },
  );

  test('S6 unknown fields, and what is no object', async () => {
    const id = await lane.holdId(5);
    for (const step of ['capture', 'grow', 'extend']) {
      for (const body of ['[]', 'null', '1', '"x"', '{"other":1}', '{"__proto__":{}}', '{"tokens":1,"tokens":2}']) {
        const reply = await api.call(`/api/v1/holds/${id}/${step}`, {
          key: organization.secret,
          headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID() },
          body,
        });
        expectProblem(reply, 'invalid_request');
      }
    }
    expectProblem(await lane.extend(id, 86_401), 'invalid_request');
    expectProblem(await lane.capture(id, { isLast: 'no' }), 'invalid_request');
    expect(await leads()).toEqual([45, 5]);
  });

  test('I9 every step of another organization’s hold, which stays as it is', async () => {
    const other = holdLaneOf(api, await createOrganization(database.superuser));
    const id = await lane.holdId(5);
    for (const reply of [
      await other.capture(id, { tokens: 1, isLast: false }, 'part'),
      await other.extend(id, 60),
      await other.grow(id, { tokens: 1 }),
      await other.release(id),
    ]) {
      expectProblem(reply, 'hold_not_found');
    }
    expect(await leads()).toEqual([45, 5]);
    expect((await lane.get(`holds/${id}`)).body).toMatchObject({ state: 'held', open: 5, charges: [] });
  });

  test('a step of a job’s hold, which the job takes itself', async () => {
    const { body } = await api.post(organization);
    expectProblem(await lane.extend(body.id, 60), 'hold_already_ended');
    expectProblem(await lane.grow(body.id, { tokens: 1 }), 'hold_already_ended');
  });

  test('growth without a key, and any step with a key that lacks the scope or without credentials', async () => {
    const id = await lane.holdId(5);
    const reader = await createApiKey(database.superuser, { ...organization, name: 'reader', scopes: ['tokens:read'] });
    for (const [step, json] of [
      ['capture', {}],
      ['grow', { tokens: 1 }],
      ['extend', { lifetimeSeconds: 1 }],
      ['release', {}],
    ] as const) {
      for (const path of [`/api/v1/holds/${id}/${step}`, `/api/v1/holds/${step}`]) {
        const headers = { 'Idempotency-Key': 'k' };
        expectProblem(await api.call(path, { json, headers }), 'unauthorized');
        expectProblem(await api.call(path, { json, headers, key: reader.secret }), 'scope_missing');
      }
    }
    const path = `/api/v1/holds/${id}/grow`;
    expectProblem(await api.call(path, { key: organization.secret, json: { tokens: 1 } }), 'idempotency_key_missing');
    expect(await leads()).toEqual([45, 5]);
  });
});
