import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Limit, limitList, limit as limitSchema } from '../../contract/limits.ts';
import { settings as settingsSchema } from '../../contract/settings.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { createOperator } from '../../db/operators.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { type Ask, expectProblem, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let operator: Record<string, string>;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  const { credential } = await createOperator(database.superuser, { name: 'ann' });
  operator = { Authorization: `Bearer ${credential}`, 'Tollgate-Reason': 'ticket 7' };
});
afterAll(async () => {
  await api.close();
  await expectInvariants(database.superuser);
  await database.drop();
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'enterprise');
});

const EACH_KEY = { tokenType: 'lead_generation', scope: 'key', subject: '*', every: 'period' } as const;
const path = (room: string, id = organization.organizationId) => `/api/v1/organizations/${id}/${room}`;
const ask = (to: string, request: Ask = {}) => api.call(to, { key: organization.secret, ...request });
const put = (json: object, request: Ask = {}) => ask(path('limits'), { method: 'PUT', json, ...request });
const lift = (which: Record<string, string>) =>
  ask(`${path('limits')}?${new URLSearchParams(which)}`, { method: 'DELETE' });
const list = async () => limitList.parse((await ask(path('limits'))).body).limits;
const hold = () =>
  ask('/api/v1/holds', { json: { feature: 'generate_leads' }, headers: { 'Idempotency-Key': randomUUID() } });

async function audit() {
  const { rows } = await database.superuser.query(
    'select a.actor, a.act, a.subject, a.reason, a.changes from tollgate.audit_log a where a.organization_id = $1 order by a.id',
    [organization.organizationId],
  );
  return rows;
}

describe('sub-limits', () => {
  it('limit from the moment they are set until they are lifted, and show what is used of each now', async () => {
    const set = await put({ ...EACH_KEY, tokens: 10 });
    expect(limitSchema.parse(set.body)).toMatchObject({ ...EACH_KEY, tokens: 10, used: [] });
    const first = (await hold()).body;
    expect((await hold()).status).toBe(201);
    expectProblem(await hold(), 'limit_reached');
    expect(await list()).toMatchObject([{ used: [{ subject: organization.principal, tokens: 10 }] }]);
    await ask(first.links.release, { json: {} });
    expect(await list()).toMatchObject([{ used: [{ subject: organization.principal, tokens: 5 }] }]);
    // Another number for it keeps what it has counted.
    expect((await put({ ...EACH_KEY, tokens: 5 })).body.used).toHaveLength(1);
    expectProblem(await hold(), 'limit_reached');

    expect((await lift(EACH_KEY)).status).toBe(204);
    expect(await list()).toEqual([]);
    expect((await hold()).status).toBe(201);
    expectProblem(await lift(EACH_KEY), 'limit_not_found');
  });

  it('of a period show nothing used once it is over, whether or not anybody has looked', async () => {
    await put({ ...EACH_KEY, tokens: 10 });
    await put({ ...EACH_KEY, every: 'day', tokens: 100 });
    await hold();
    const before = await list();
    await elapse(database.superuser, organization.organizationId, '31 days');
    const after = await list();
    expect(after.map(({ used }: Limit) => used)).toEqual([[], []]);
    for (const [n, { windowStartsAt }] of after.entries()) {
      expect(Date.parse(windowStartsAt)).toBeGreaterThan(Date.parse(before[n]!.windowStartsAt) - 31 * 86_400_000);
      expect(Date.parse(windowStartsAt)).toBeLessThanOrEqual(Date.now());
    }
  });

  it.each([
    { ...EACH_KEY, subject: 'user:ann', tokens: 1 },
    { ...EACH_KEY, scope: 'user', subject: 'ann', tokens: 1 },
    { ...EACH_KEY, scope: 'feature', subject: 'generate_money', tokens: 1 },
    { ...EACH_KEY, tokenType: 'money', tokens: 1 },
    { ...EACH_KEY, every: 'hour', tokens: 1 },
    { ...EACH_KEY, tokens: -1 },
    { ...EACH_KEY },
  ])('refuses %j', async (json) => {
    expectProblem(await put(json), 'invalid_request');
    const { tokens: _, ...which } = { tokens: 0, ...json };
    const fits = 'tokens' in json ? json.tokens === -1 : true;
    expectProblem(await lift(which), fits ? 'limit_not_found' : 'invalid_request');
  });

  it('are a thousand for a token type at most', async () => {
    await database.superuser.query(
      `insert into tollgate.sub_limits (organization_id, token_type, scope, subject, every, tokens)
       select $1, 'lead_generation', 'user', 'user:' || n, 'day', 1 from generate_series(1, 1000) n`,
      [organization.organizationId],
    );
    expectProblem(await put({ ...EACH_KEY, tokens: 10 }), 'too_many_limits');
    expect((await put({ ...EACH_KEY, scope: 'user', subject: 'user:7', every: 'day', tokens: 2 })).status).toBe(200);
  });

  it('and their lifting are written to the audit log with what was before; a repeat is no act', async () => {
    for (const tokens of [10, 10, 7]) await put({ ...EACH_KEY, tokens });
    await lift(EACH_KEY);
    await api.call(path('limits'), { method: 'PUT', json: { ...EACH_KEY, tokens: 3 }, headers: operator });
    const changes = { scope: 'key', every: 'period', tokenType: 'lead_generation' };
    const mine = { actor: organization.principal, subject: '*', reason: null };
    expect(await audit()).toMatchObject([
      { ...mine, act: 'setLimit', changes: { ...changes, from: null, to: 10 } },
      { ...mine, act: 'setLimit', changes: { ...changes, from: 10, to: 7 } },
      { ...mine, act: 'liftLimit', changes: { ...changes, from: 7, to: null } },
      { actor: expect.stringMatching(/^operator:/), act: 'setLimit', reason: 'ticket 7' },
    ]);
  });
});

describe('settings', () => {
  const patch = (json: object, request: Ask = {}) => ask(path('settings'), { method: 'PATCH', json, ...request });
  const never = { forecast: null, general: null, strategy_analysis: null };

  it('change where they are named and stay where they are not', async () => {
    const fresh = settingsSchema.parse((await ask(path('settings'))).body);
    expect(fresh).toEqual({
      captureAboveHold: 'refuse',
      lowBalances: { ...never, goal_generation: null, lead_generation: null },
    });
    await patch({ lowBalances: { goal_generation: 5, lead_generation: 50 } });
    const changed = await patch({ captureAboveHold: 'draw', lowBalances: { lead_generation: null } });
    const wanted = { captureAboveHold: 'draw', lowBalances: { ...never, goal_generation: 5, lead_generation: null } };
    expect(changed.body).toEqual(wanted);
    expect((await patch({})).body).toEqual(wanted);
    expect((await ask(path('settings'))).body).toEqual(wanted);
    expect(await audit()).toMatchObject([
      {
        act: 'changeSettings',
        changes: { lowBalances: { from: { goal_generation: null }, to: { goal_generation: 5 } } },
      },
      { act: 'changeSettings', changes: { captureAboveHold: { from: 'refuse', to: 'draw' } } },
    ]);
  });

  it('take effect: a capture above its hold draws the rest, and a low balance is told', async () => {
    await patch({ captureAboveHold: 'draw', lowBalances: { lead_generation: 499 } });
    const placed = (await hold()).body;
    expect((await ask(placed.links.capture, { json: { tokens: 8 } })).body).toMatchObject({ captured: 8 });
    const { rows } = await database.superuser.query(
      `select count(*)::int as told from tollgate.outbox o where o.organization_id = $1 and o.kind like '%low%'`,
      [organization.organizationId],
    );
    expect(rows).toEqual([{ told: 1 }]);
  });

  it.each([
    { captureAboveHold: 'double' },
    { lowBalances: { money: 1 } },
    { lowBalances: { forecast: 0 } },
    { lowBalances: { forecast: 1.5 } },
    { theme: 'dark' },
  ])('refuses %j', async (json) => {
    expectProblem(await patch(json), 'invalid_request');
  });
});

it('members, other organizations and keys without the scope neither read nor change either', async () => {
  const { organizationId } = organization;
  const other = await createOrganization(database.superuser);
  const narrow = await createApiKey(database.superuser, { organizationId, name: 'n', scopes: ['tokens:write'] });
  const reader = await createApiKey(database.superuser, { organizationId, name: 'r', scopes: ['organization:read'] });
  for (const room of ['limits', 'settings']) {
    const change =
      room === 'limits' ? { method: 'PUT', json: { ...EACH_KEY, tokens: 1 } } : { method: 'PATCH', json: {} };
    for (const request of [{}, change]) {
      expectProblem(await ask(path(room), { ...request, key: narrow.secret }), 'scope_missing');
      expectProblem(await ask(path(room), { ...request, key: other.secret }), 'not_your_organization');
      const nowhere = await api.call(path(room, 'nowhere'), { ...request, headers: operator });
      expectProblem(nowhere, 'organization_not_found');
    }
    expect((await ask(path(room), { key: reader.secret })).status).toBe(200);
    expectProblem(await ask(path(room), { ...change, key: reader.secret }), 'scope_missing');
  }
  // In SQL too, whatever the API let through.
  const asReader = [`key:${reader.id}`, organizationId];
  const { rows } = await database.api.query(
    `select tollgate.change_sub_limit($1, $2, 'forecast', 'key', '*', 'day', 1, null, null) as limits,
            (select s.outcome from tollgate.change_settings($1, $2, '{}', null, null) s) as settings`,
    asReader,
  );
  expect(rows).toEqual([{ limits: 'not_an_admin', settings: 'not_an_admin' }]);
});
