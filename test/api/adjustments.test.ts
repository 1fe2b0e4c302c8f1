import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { adjustmentList, adjustment as adjustmentSchema, madeAdjustment } from '../../contract/adjustments.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { addProfile, type People, startOperator, startPeople } from './people.ts';
import { expectProblem, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let people: People;
let api: TestApi;
let operator: Awaited<ReturnType<typeof startOperator>>;
let organization: TestOrganization;
beforeAll(async () => {
  [database, people] = await Promise.all([freshDatabase(), startPeople()]);
  api = await startTestApi(database, { sessions: people.sessions });
  operator = await startOperator(database, api);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await people.stop();
  await database.drop();
});

const path = () => `/api/v1/organizations/${organization.organizationId}/adjustments`;
const GOODWILL = { tokenType: 'forecast', amount: 10, reason: 'Goodwill' };
const adjust = (json: object = {}, key: string = randomUUID(), { call } = operator) =>
  call(path(), { json: { ...GOODWILL, ...json }, headers: { 'Idempotency-Key': key } });
const reverse = (id: number | string) => operator.call(`${path()}/${id}/reverse`, { method: 'POST' });
const available = async () => (await balanceOf(database.superuser, organization.organizationId, 'forecast')).available;
async function acts() {
  const { rows } = await database.superuser.query(
    `select actor, act, subject, reason, changes from tollgate.audit_log where organization_id = $1 and act like '%djust%' and act not like 'list%' order by id`,
    [organization.organizationId],
  );
  return rows;
}

describe('POST …/adjustments', () => {
  test('gives and takes tokens, with the audit row in the same transaction; the ledger names no operator', async () => {
    const given = await adjust();
    expect(given.status, given.text).toBe(201);
    const { id, ...made } = madeAdjustment.parse(given.body);
    expect(made).toMatchObject({
      ...GOODWILL,
      organizationId: organization.organizationId,
      actor: 'operator',
      reverses: null,
      available: 40,
    });
    const taken = madeAdjustment.parse((await adjust({ amount: -15 })).body);
    expect(taken).toMatchObject({ amount: -15, available: 25 });
    expect(await available()).toBe(25);
    const act = { actor: operator.actor, act: 'adjustBalance', reason: 'ticket 7' };
    expect(await acts()).toEqual([
      { ...act, subject: `${id}`, changes: { tokenType: 'forecast', amount: 10 } },
      { ...act, subject: `${taken.id}`, changes: { tokenType: 'forecast', amount: -15 } },
    ]);
    const { entries } = (await api.call('/api/v1/ledger?tokenType=forecast', { key: organization.secret })).body;
    expect(entries[0]).toMatchObject({ kind: 'adjustment', actor: 'operator', amount: 15 });
  });

  test('R4: of 20 equal requests at once one is booked, and all are answered alike', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => adjust({}, 'once')));
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies.filter(({ headers }) => headers.get('idempotent-replayed') === null)).toHaveLength(1);
    expect(await available()).toBe(40);
    expect(await acts()).toHaveLength(1);
  });

  test('R5: the same key with another body is refused; other operators’ keys, and the organization’s, are theirs', async () => {
    await adjust({}, 'k');
    for (const other of [{ amount: 11 }, { tokenType: 'general' }, { reason: 'Else' }])
      expectProblem(await adjust(other, 'k'), 'idempotency_key_reused');
    expect((await adjust({}, 'k', await startOperator(database, api))).status).toBe(201);
    const deduction = {
      organizationId: organization.organizationId,
      featureUsed: 'forecast_revenue',
      action: 'deduct',
    };
    const deducted = await api.call('/api/v1/tokens/check-balance', {
      ...{ key: organization.secret, json: deduction, headers: { 'Idempotency-Key': 'k' } },
    });
    expect(deducted.body).toMatchObject({ success: true });
    expect(await available()).toBe(46);
  });

  test('takes no more than there is, gives no more than a balance holds, and is refused without a trace', async () => {
    expect(expectProblem(await adjust({ amount: -31 }, 'k'), 'tokens_insufficient')).toMatchObject({
      ...{ required: 31, available: 30, tokenType: 'forecast' },
    });
    expectProblem(await adjust({ amount: 1_000_000_000_000_000 }, 'k'), 'balance_too_large');
    for (const amount of [0, -0, 1.5, 1e16, -1e16, 2 ** 53, '1', null, true, []])
      expectProblem(await adjust({ amount }, 'k'), 'invalid_request');
    for (const wrong of [
      { tokenType: 'gold' },
      { reason: '' },
      { reason: ' ' },
      { reason: 'x'.repeat(501) },
      { more: 1 },
    ])
      expectProblem(await adjust(wrong, 'k'), 'invalid_request');
    const nowhere = { json: GOODWILL, headers: { 'Idempotency-Key': 'k' } };
    for (const id of ['no-such', 'a%00b'])
      expectProblem(await operator.call(`/api/v1/organizations/${id}/adjustments`, nowhere), 'organization_not_found');
    expect(await available()).toBe(30);
    expect(await acts()).toEqual([]);
    expect((await adjust({}, 'k')).status).toBe(201);
  });

  test('is for operators alone, and so is reversing', async () => {
    const { id } = (await adjust()).body;
    await addProfile(database, `a-${organization.organizationId}`, organization.organizationId, 'admin');
    for (const key of [organization.secret, await people.signIn(`a-${organization.organizationId}`)]) {
      const headers = { 'Idempotency-Key': 'mine', 'Tollgate-Reason': 'because' };
      expectProblem(await api.call(path(), { key, json: GOODWILL, headers }), 'operators_only');
      expectProblem(await api.call(`${path()}/${id}/reverse`, { key, method: 'POST', headers }), 'operators_only');
    }
    expect(await available()).toBe(40);
  });
});

describe('POST …/adjustments/{adjustmentId}/reverse', () => {
  test('books the opposite once, also when 20 ask at once', async () => {
    const { id } = (await adjust()).body;
    const replies = await Promise.all(Array.from({ length: 20 }, () => reverse(id)));
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies.filter(({ headers }) => headers.get('idempotent-replayed') === null)).toHaveLength(1);
    expect(adjustmentSchema.parse(replies[0]!.body)).toMatchObject({
      amount: -10,
      reverses: id,
      reason: 'ticket 7',
      actor: 'operator',
    });
    expect(await available()).toBe(30);
    expect(await acts()).toMatchObject([
      { act: 'adjustBalance' },
      {
        act: 'reverseAdjustment',
        subject: `${id}`,
        actor: operator.actor,
        changes: { reversal: replies[0]!.body.id, amount: -10 },
      },
    ]);
  });

  test('is refused where what was given is spent, and where there is none', async () => {
    const { id } = (await adjust()).body;
    await adjust({ amount: -35 });
    expect(expectProblem(await reverse(id), 'tokens_insufficient')).toMatchObject({
      required: 10,
      available: 5,
      tokenType: 'forecast',
    });
    for (const none of [id + 1_000, 0, 'x', '1e3', '9'.repeat(30)])
      expectProblem(await reverse(none), 'adjustment_not_found');
    organization = await createOrganization(database.superuser);
    expectProblem(await reverse(id), 'adjustment_not_found');
    expectProblem(
      await operator.call(`/api/v1/organizations/no-such/adjustments/${id}/reverse`, { method: 'POST' }),
      'organization_not_found',
    );
  });
});

describe('GET …/adjustments', () => {
  test('shows admins what was done, newest first, page by page, and what was undone by what', async () => {
    const { id } = (await adjust()).body;
    const other = (await adjust({ amount: 2 })).body.id;
    const reversal = (await reverse(id)).body.id;
    const page = async (rest = '') =>
      adjustmentList.parse((await api.call(`${path()}?limit=2${rest}`, { key: organization.secret })).body);
    const first = await page();
    expect(first.adjustments).toMatchObject([
      { id: reversal, reverses: id, reversedBy: null },
      { id: other, reversedBy: null },
    ]);
    const second = await page(`&cursor=${first.nextCursor}`);
    expect(second).toMatchObject({ adjustments: [{ id, reversedBy: reversal }], nextCursor: null });
    await addProfile(database, `m-${organization.organizationId}`, organization.organizationId, 'member');
    expectProblem(
      await api.call(path(), { key: await people.signIn(`m-${organization.organizationId}`) }),
      'admins_only',
    );
    const stranger = await createOrganization(database.superuser);
    expectProblem(await api.call(path(), { key: stranger.secret }), 'not_your_organization');
    expectProblem(await api.call(`${path()}?cursor=x`, { key: organization.secret }), 'invalid_request');
    expect((await operator.call(path())).body.adjustments).toHaveLength(3);
  });
});
