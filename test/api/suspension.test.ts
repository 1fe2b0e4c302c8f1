import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { caps } from '../../contract/caps.ts';
import { revokeOperator } from '../../db/operators.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { auditOf, newOperator, type TestOperator } from '../support/operator.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { type HoldLane, holdLaneOf } from './holdLane.ts';
import { type Ask, expectProblem, GOAL, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let operator: TestOperator;
let organization: TestOrganization;
let organizationId: string;
let lane: HoldLane;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  operator = await newOperator(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  organizationId = organization.organizationId;
  lane = holdLaneOf(api, organization);
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await database.drop();
});

const REASON = 'chargebacks';
const asOperator = (path: string, ask: Partial<Ask> = {}) =>
  api.call(path, { method: 'POST', key: operator.credential, headers: { 'Tollgate-Reason': REASON }, ...ask });
const pathOf = (verb: string, id = organizationId) => `/api/v1/organizations/${id}/${verb}`;
const setCaps = (json: unknown, ask: Partial<Ask> = {}) => asOperator(pathOf('caps'), { method: 'PUT', json, ...ask });
const tokens = (action: string) =>
  api.call('/api/v1/tokens/check-balance', {
    key: organization.secret,
    json: { organizationId, featureUsed: 'generate_leads', action },
  });

describe('a suspended organization', () => {
  test('S9: is answered 403 organization_suspended wherever something new is asked for, and nothing is written', async () => {
    const open = await lane.holdId(5);
    const suspended = await asOperator(pathOf('suspend'));
    expect(suspended).toMatchObject({
      status: 200,
      body: { organizationId, suspendedSince: expect.stringMatching(/^\d{4}-.*Z$/) },
    });
    const before = await traces(database, organizationId);
    for (const reply of [
      await lane.hold(),
      await lane.grow(open, { tokens: 1 }),
      await api.post(organization, GOAL),
      await tokens('check'),
      await tokens('deduct'),
      await lane.rows('quotes', { feature: 'generate_leads' }),
    ])
      expectProblem(reply, 'organization_suspended');
    for (const reply of [
      await lane.rows('holds', [{ key: 'row', feature: 'generate_leads' }]),
      await lane.rows('holds/grow', [{ id: open, key: 'row', tokens: 1 }]),
      await lane.rows('quotes', [{ feature: 'generate_leads' }]),
    ])
      expect([reply.status, reply.body.map((row: { code: string }) => row.code)]).toEqual([
        200,
        ['organization_suspended'],
      ]);
    expect(await traces(database, organizationId)).toEqual(before);
    expect((await lane.get('balances')).status).toBe(200);
    expect(await lane.capture(open)).toMatchObject({ status: 200, body: { captured: 5 } });
  });

  test('is served again once it is resumed; both may be repeated, and stand in the audit log with their reason', async () => {
    const first = await asOperator(pathOf('suspend'));
    expect((await asOperator(pathOf('suspend'))).body).toEqual(first.body);
    const resumed = { status: 200, body: { organizationId, suspendedSince: null } };
    for (let n = 0; n < 2; n++) {
      expect(await asOperator(pathOf('resume'), { headers: { 'Tollgate-Reason': 'paid' } })).toMatchObject(resumed);
    }
    expect((await lane.hold()).status).toBe(201);
    const audit = await auditOf(database, organizationId);
    expect(audit.map(({ act, reason }) => [act, reason])).toEqual([
      ...Array(2).fill(['suspendOrganization', REASON]),
      ...Array(2).fill(['resumeOrganization', 'paid']),
    ]);
    expect(audit[0]).toMatchObject({
      actor: operator.principal,
      requestId: first.headers.get('x-request-id'),
      changes: { suspendedSince: { from: null } },
    });
  });
});

describe('caps', () => {
  test('S9: a hold above the cap is 429 too_many_holds with Retry-After, in an array in its row; a job above it too_many_jobs', async () => {
    const set = await setCaps({ mostOpenHolds: 2, mostOpenJobs: 1 });
    expect(caps.parse(set.body)).toEqual({ organizationId, mostOpenHolds: 2, mostOpenJobs: 1 });
    const row = () => ({ key: randomUUID(), feature: 'generate_leads' });
    const rows = await lane.rows('holds', [row(), row(), row()]);
    expect(rows.body.map((placed: { code?: string }) => placed.code)).toEqual([undefined, undefined, 'too_many_holds']);
    const refused = await lane.hold();
    expectProblem(refused, 'too_many_holds');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await lane.rows('quotes', { feature: 'generate_leads' })).body).toMatchObject({
      ...{ outcome: 'too_many_holds', sufficient: false },
      ...{ tokenType: 'lead_generation', available: 40, grants: [] },
    });
    expect((await api.post(organization, GOAL)).status).toBe(202);
    const key = randomUUID();
    const second = await api.post(organization, GOAL, key);
    expectProblem(second, 'too_many_jobs');
    expect(Number(second.headers.get('retry-after'))).toBeGreaterThan(0);
    // With the same key, as its problem says.
    await setCaps({ mostOpenHolds: null, mostOpenJobs: null });
    expect((await api.post(organization, GOAL, key)).status).toBe(202);
    expect((await lane.hold()).status).toBe(201);
  });

  test('are whole numbers within bounds, or null', async () => {
    for (const body of [
      ...[0, -1, 1.5, 1_000_001, '5', true].map((mostOpenHolds) => ({ mostOpenHolds, mostOpenJobs: null })),
      ...[0, 100_001].map((mostOpenJobs) => ({ mostOpenHolds: null, mostOpenJobs })),
      ...[{}, { mostOpenHolds: 1 }, { mostOpenHolds: 1, mostOpenJobs: 1, mostOpenDoors: 1 }, null, []],
    ])
      expectProblem(await setCaps(body), 'invalid_request');
    const largest = { mostOpenHolds: 1_000_000, mostOpenJobs: 100_000 };
    expect(await setCaps(largest)).toMatchObject({ status: 200, body: largest });
    expect(await auditOf(database, organizationId)).toHaveLength(1);
  });
});

describe('both are for operators', () => {
  test('who say why: a key, and an operator without a reason or whose credential was revoked, change nothing', async () => {
    const revoked = await newOperator(database);
    await revokeOperator(database.superuser, revoked.principal.replace('operator:', ''));
    for (const [verb, ask] of [
      ['suspend', {}],
      ['resume', {}],
      ['caps', { method: 'PUT', json: { mostOpenHolds: 1, mostOpenJobs: 1 } }],
    ] as const) {
      expectProblem(await asOperator(pathOf(verb), { ...ask, key: organization.secret }), 'operators_only');
      expectProblem(await asOperator(pathOf(verb), { ...ask, headers: {} }), 'operator_reason_missing');
      expectProblem(await asOperator(pathOf(verb), { ...ask, key: revoked.credential }), 'unauthorized');
      for (const id of ['none', 'no%20id', '..%2f', `${'x'.repeat(65)}`])
        expectProblem(await asOperator(pathOf(verb, id), ask), 'organization_not_found');
    }
    expect(await auditOf(database, organizationId)).toEqual([]);
    expect((await lane.hold()).status).toBe(201);
  });
});
