import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { refundedCharge } from '../../contract/charges.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { type HoldLane, holdLaneOf, NO_AMOUNTS } from './holdLane.ts';
import { addProfile, type People, startPeople } from './people.ts';
import { expectProblem, GOAL, runToTheEnd, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let people: People;
let organization: TestOrganization;
let lane: HoldLane;
/** Of 8 lead tokens. */
let charge: string;
beforeAll(async () => {
  [database, people] = await Promise.all([freshDatabase(), startPeople()]);
  api = await startTestApi(database, { sessions: people.sessions });
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  lane = holdLaneOf(api, organization);
  const id = await lane.holdId(10);
  charge = (await lane.capture(id, { tokens: 8 })).body.chargeId;
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await people.stop();
  await database.drop();
});

const available = async () =>
  (await balanceOf(database.superuser, organization.organizationId, 'lead_generation')).available;

describe('a refund', () => {
  test('gives a part of the charge back, then the rest of it', async () => {
    const part = await lane.refund(charge, { tokens: 3, reason: 'three were empty' });
    expect([part.status, refundedCharge.parse(part.body)]).toEqual([
      200,
      {
        chargeId: charge,
        tokenType: 'lead_generation',
        refunded: 3,
        refundedInAll: 3,
        charged: 8,
        available: 45,
        links: { hold: `/api/v1/holds/${charge.slice(0, -2)}` },
      },
    ]);
    expect((await lane.refund(charge)).body).toMatchObject({ refunded: 5, refundedInAll: 8, available: 50 });
    expect((await lane.get(`holds/${charge.slice(0, -2)}`)).body.charges).toMatchObject([
      { chargeId: charge, tokens: 8, refunded: 8 },
    ]);
  });

  test('R4 asked for a hundred times under one key is made once', async () => {
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => lane.refund(charge, { tokens: 3, reason: 'empty' }, 'hundredfold')),
    );
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(99);
    expect(await available()).toBe(45);
  });

  test('R1 a hundred at once under keys of their own give back the charge and no more', async () => {
    const replies = await Promise.all(
      Array.from({ length: 100 }, () => lane.refund(charge, { tokens: 3, reason: 'empty' })),
    );
    expect(replies.filter(({ status }) => status === 200)).toHaveLength(2);
    for (const reply of replies.filter(({ status }) => status !== 200)) expectProblem(reply, 'amount_above_charge');
    expect(await available()).toBe(48);
  });

  test('R5 under the key of another is refused, and a refused one leaves its key free', async () => {
    await lane.refund(charge, { tokens: 3, reason: 'empty' }, 'one');
    expectProblem(await lane.refund(charge, { tokens: 4, reason: 'empty' }, 'one'), 'idempotency_key_reused');
    expectProblem(await lane.refund(charge, { tokens: 6, reason: 'empty' }, 'two'), 'amount_above_charge');
    expect((await lane.refund(charge, { tokens: 5, reason: 'empty' }, 'two')).status).toBe(200);
    expect(await available()).toBe(50);
  });

  test('of a job’s charge works like any other', async () => {
    const { body: job } = await api.post(organization);
    await runToTheEnd(database, organization.organizationId, job.id);
    expect((await lane.refund(`${job.id}.1`, { reason: 'the goal was of no use' })).body).toMatchObject({
      tokenType: 'goal_generation',
      refunded: 3,
      available: 20,
    });
  });

  test('may be made by every key with tokens:write, whichever of them charged', async () => {
    const other = await createApiKey(database.superuser, { ...organization, name: 'o', scopes: ['tokens:write'] });
    const path = `/api/v1/charges/${charge}/refund`;
    const reply = await api.call(path, {
      key: other.secret,
      json: { reason: 'empty' },
      headers: { 'Idempotency-Key': 'k' },
    });
    expect(reply.body.refunded).toBe(8);
  });

  test('is an admin’s, of users: a member keeps no result whose charge he has given back', async () => {
    const { organizationId } = organization;
    const refundAs = async (user: string, chargeId: string) =>
      api.call(`/api/v1/charges/${chargeId}/refund`, {
        key: await people.signIn(user),
        json: { reason: 'read it, thanks' },
        headers: { 'Idempotency-Key': `by ${user}` },
      });
    const [hand, boss] = [`hand-${organizationId}`, `boss-${organizationId}`];
    await addProfile(database, hand, organizationId, 'member');
    await addProfile(database, boss, organizationId, 'admin');
    const { body: job } = await api.call('/api/v1/jobs', {
      ...{ key: await people.signIn(hand), json: GOAL, headers: { 'Idempotency-Key': 'goal' } },
    });
    await runToTheEnd(database, organizationId, job.id);
    const before = await traces(database, organizationId);
    for (const chargeId of [charge, `${job.id}.1`]) expectProblem(await refundAs(hand, chargeId), 'admins_only');
    expect(await traces(database, organizationId)).toEqual(before);
    expect((await refundAs(boss, `${job.id}.1`)).body).toMatchObject({ refunded: 3 });
  });
});

describe('is refused, with nothing written and nothing moved:', () => {
  let untouched: unknown;
  beforeEach(async () => {
    untouched = await traces(database, organization.organizationId);
  });
  afterEach(async () => {
    expect(await traces(database, organization.organizationId)).toEqual(untouched);
  });

  test.each([
    ...NO_AMOUNTS.map((tokens) => `{"tokens":${tokens},"reason":"empty"}`),
    ...['{}', '{"reason":""}', '{"reason":" \\u00a0"}', '{"reason":"…"}', '{"reason":7}', '[]', 'null'],
    ...['{"reason":"x","to":"me"}', '{"reason":"x","__proto__":{}}', `{"reason":"${'x'.repeat(501)}"}`],
  ])('S4 S6 %s', async (body) => {
    const reply = await api.call(`/api/v1/charges/${charge}/refund`, {
      key: organization.secret,
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': 'k' },
      body,
    });
    expectProblem(reply, 'invalid_request');
  });

  test('R7 a charge that there is not', async () => {
    const hold = charge.slice(0, -2);
    for (const id of ['x', 'x.1', hold, `${hold}.0`, `${hold}.2`, `${hold}.01`, `${hold}.99999999999`, 'debt:x.1']) {
      expectProblem(await lane.refund(encodeURIComponent(id)), 'charge_not_found');
    }
  });

  test('I9 another organization’s charge', async () => {
    const stranger = await createOrganization(database.superuser);
    expectProblem(await holdLaneOf(api, stranger).refund(charge), 'charge_not_found');
  });

  test('no key, no credentials, a key without the scope', async () => {
    const path = `/api/v1/charges/${charge}/refund`;
    const json = { reason: 'empty' };
    const headers = { 'Idempotency-Key': 'k' };
    const reader = await createApiKey(database.superuser, { ...organization, name: 'r', scopes: ['tokens:read'] });
    expectProblem(await api.call(path, { key: organization.secret, json }), 'idempotency_key_missing');
    expectProblem(await api.call(path, { json, headers }), 'unauthorized');
    expectProblem(await api.call(path, { key: reader.secret, json, headers }), 'scope_missing');
  });
});
