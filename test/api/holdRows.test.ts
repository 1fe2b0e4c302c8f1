import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { endedHoldRow, extendedHold, grownHoldRow, placedHoldRow } from '../../contract/holds.ts';
import { PROBLEMS, type ProblemCode } from '../../contract/problems.ts';
import { problemRow } from '../../contract/rows.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { type HoldLane, holdLaneOf, NO_AMOUNTS } from './holdLane.ts';
import { expectProblem, type Reply, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let lane: HoldLane;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'enterprise');
  lane = holdLaneOf(api, organization);
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await database.drop();
});

const leads = async () => {
  const { available, held } = await balanceOf(database.superuser, organization.organizationId, 'lead_generation');
  return [available, held];
};
const wish = (key: string, tokens = 1, change: object = {}) => ({ key, feature: 'generate_leads', tokens, ...change });

/** What each row came to: the code of its problem, `repeat`, or `done`. */
function outcomes(reply: Reply): (ProblemCode | 'repeat' | 'done')[] {
  expect([reply.status, Array.isArray(reply.body)], reply.text).toEqual([200, true]);
  return reply.body.map((row: object) => {
    if (!('code' in row)) return 'replayed' in row ? 'repeat' : 'done';
    const { code, title, detail } = problemRow.parse(row);
    expect({ title, detail }).toEqual({ title: PROBLEMS[code].title, detail: PROBLEMS[code].detail });
    return code;
  });
}

describe('an array of holds', () => {
  test('is answered row by row in the order asked; a bad row never fails its neighbours', async () => {
    const rows = [
      wish('a', 10),
      { key: 'b', feature: 'generate_money' },
      wish('c', 0),
      wish('a', 10),
      wish('a', 11),
      wish('d', 600),
      null,
      [],
      'x',
      { feature: 'generate_leads' },
      wish('e', 1, { organizationId: 'x' }),
      wish(''),
      wish('f', 490),
      wish('g'),
    ];
    const reply = await lane.rows('holds', rows);
    expect(outcomes(reply)).toEqual([
      'done',
      'feature_unknown',
      'invalid_request',
      'repeat',
      'idempotency_key_reused',
      'tokens_insufficient',
      ...Array(6).fill('invalid_request'),
      'done',
      'tokens_insufficient',
    ]);
    expect(placedHoldRow.parse(reply.body[0])).toMatchObject({ key: 'a', tokens: 10, tokenType: 'lead_generation' });
    expect(placedHoldRow.parse(reply.body[3])).toEqual({ ...reply.body[0], replayed: true });
    expect(reply.body[5]).toMatchObject({ key: 'd', required: 600, available: 490, tokenType: 'lead_generation' });
    expect(reply.body[2].errors).toMatchObject([{ path: 'tokens' }]);
    expect(reply.body[9]).toMatchObject({ key: null, errors: [{ path: 'key' }] });
    expect(reply.body[10].errors).toMatchObject([{ path: 'organizationId', message: 'There is no such field.' }]);
    expect(await leads()).toEqual([0, 500]);
  });

  test('of a thousand with bad rows between places every good one', async () => {
    const rows = Array.from({ length: 1_000 }, (_, n) => wish(`k${n}`, n % 4 === 3 ? -1 : 1));
    const reply = await lane.rows('holds', rows);
    expect(outcomes(reply)).toEqual(
      rows.map(({ tokens }, n) =>
        tokens < 0 ? 'invalid_request' : n - Math.floor(n / 4) < 500 ? 'done' : 'tokens_insufficient',
      ),
    );
    expect(reply.body.map(({ key }: { key: string }) => key)).toEqual(rows.map(({ key }) => key));
    expect(await leads()).toEqual([0, 500]);
    // Sent again, it is the same holds, and nothing more is held.
    const again = outcomes(await lane.rows('holds', rows));
    expect(again.filter((outcome) => outcome === 'repeat')).toHaveLength(500);
    expect(await leads()).toEqual([0, 500]);
  });

  test('a row’s key and an Idempotency-Key of the same words are the same hold', async () => {
    const { body } = await lane.hold({ feature: 'generate_leads', tokens: 1 }, 'same');
    const [row] = (await lane.rows('holds', [wish('same')])).body;
    expect(row).toEqual({ key: 'same', ...body, replayed: true });
    expect(await leads()).toEqual([499, 1]);
  });

  test('R4 the same array a hundred times at once, as far as it is taken, is each hold once', async () => {
    const rows = ['a', 'b', 'c'].map((key) => wish(key));
    const replies = await Promise.all(Array.from({ length: 100 }, () => lane.rows('holds', rows)));
    const taken = replies.filter(({ status }) => status === 200);
    expect(taken.length).toBeGreaterThanOrEqual(16);
    for (const reply of replies.filter(({ status }) => status !== 200)) expectProblem(reply, 'ledger_busy');
    expect(new Set(taken.flatMap(({ body }) => body.map(({ id }: { id: string }) => id))).size).toBe(3);
    expect(await leads()).toEqual([497, 3]);
  });

  test('of nothing is answered with nothing', async () => {
    expect((await lane.rows('holds', [])).body).toEqual([]);
    expect((await lane.rows('holds/capture', [])).body).toEqual([]);
  });

  test.each(NO_AMOUNTS)('S4 %s tokens, or seconds, are refused in their row', async (amount) => {
    const reply = await lane.rows(
      'holds',
      `[{"key":"a","feature":"generate_leads","tokens":${amount}},{"key":"b","feature":"generate_leads"},` +
        `{"key":"c","feature":"generate_leads","lifetimeSeconds":${amount}}]`,
    );
    expect(outcomes(reply)).toEqual(['invalid_request', 'done', 'invalid_request']);
    expect(await leads()).toEqual([495, 5]);
  });

  test('S6 JSON that two readers could take differently is refused in its row', async () => {
    const good = '{"key":"good","feature":"generate_leads"}';
    const reply = await lane.rows(
      'holds',
      `[{"key":"a","feature":"generate_leads","__proto__":{}},{"key":"b","key":"c","feature":"generate_leads"},` +
        `{"key":"d\\u0000","feature":"generate_leads"},{"key":"\\ud800","feature":"generate_leads"},` +
        `{"constructor":1,"key":"e","feature":"generate_leads"},${good}]`,
    );
    expect(outcomes(reply)).toEqual([...Array(5).fill('invalid_request'), 'done']);
    expect(reply.body[0].errors).toEqual([{ path: '__proto__', message: 'is not a field name that is taken' }]);
    expect(await leads()).toEqual([495, 5]);
  });
});

describe('an array of steps', () => {
  test('captures, grows, extends and releases what each row names', async () => {
    const ids = await Promise.all([5, 5, 5, 5].map((tokens) => lane.holdId(tokens)));
    const [a, b, c, d] = ids;
    const grown = await lane.rows('holds/grow', [
      { id: a, key: 'g', tokens: 5 },
      { id: a, key: 'g', tokens: 5 },
      { id: a, key: 'g', tokens: 6 },
      { id: b, key: 'g', tokens: 1_000 },
      { id: 'nothing', key: 'g', tokens: 1 },
      { id: b, tokens: 1 },
    ]);
    expect(outcomes(grown)).toEqual([
      'done',
      'repeat',
      'idempotency_key_reused',
      'tokens_insufficient',
      'hold_not_found',
      'invalid_request',
    ]);
    expect(grown.body[3]).toMatchObject({
      required: 1_000,
      available: expect.any(Number),
      tokenType: 'lead_generation',
    });
    expect(grownHoldRow.parse(grown.body[0])).toMatchObject({ key: 'g', id: a, tokens: 10 });

    const extended = await lane.rows('holds/extend', [
      { id: a, lifetimeSeconds: 2_000 },
      { id: a, lifetimeSeconds: 2_000 },
      { id: "x'--", lifetimeSeconds: 2_000 },
      { id: b, lifetimeSeconds: 86_401 },
    ]);
    expect(outcomes(extended)).toEqual(['done', 'done', 'hold_not_found', 'invalid_request']);
    expect(extendedHold.parse(extended.body[0]).id).toBe(a);

    const captured = await lane.rows('holds/capture', [
      { id: a, tokens: 2, isLast: false, key: 'p1' },
      { id: a, tokens: 2, isLast: false, key: 'p1' },
      { id: a, tokens: 3, isLast: false },
      { id: a, tokens: 3, key: 'p2' },
      { id: a, tokens: 9 },
      { id: a, tokens: 3 },
      { id: a, tokens: 3 },
      { id: b },
      { id: b },
      {},
    ]);
    expect(outcomes(captured)).toEqual([
      'done',
      'repeat',
      'invalid_request',
      'invalid_request',
      'amount_above_hold',
      'done',
      'repeat',
      'done',
      'repeat',
      'invalid_request',
    ]);
    expect(captured.body[2].errors).toMatchObject([{ path: 'key' }]);
    expect(endedHoldRow.parse(captured.body[5])).toMatchObject({ id: a, captured: 3, returned: 5, chargeId: `${a}.2` });

    const released = await lane.rows('holds/release', [
      { id: c },
      { id: c },
      { id: a },
      { id: d, tokens: 1 },
      { id: d },
    ]);
    expect(outcomes(released)).toEqual(['done', 'repeat', 'hold_already_ended', 'invalid_request', 'done']);
    expect(await leads()).toEqual([490, 0]);
  });

  test('of a thousand, placed, grown and captured with bad rows between, moves exactly the good ones', async () => {
    const names = Array.from({ length: 400 }, (_, n) => `k${n}`);
    const placed = (
      await lane.rows(
        'holds',
        names.map((key) => wish(key)),
      )
    ).body as { id: string }[];
    const rows = placed.flatMap(({ id }, n) => [
      { id, tokens: 1 },
      ...(n % 2 === 0 ? [{ id: `no-${id}` }] : [{ id, tokens: 0 }]),
    ]);
    const done = outcomes(await lane.rows('holds/capture', [...rows, ...rows.slice(0, 200)]));
    expect(Object.groupBy(done, (outcome) => outcome)).toMatchObject({
      done: { length: 400 },
      repeat: { length: 100 },
      hold_not_found: { length: 250 },
      invalid_request: { length: 250 },
    });
    expect(await leads()).toEqual([100, 0]);
  });

  test('I9 another organization’s holds are not found, and stay as they are', async () => {
    const other = holdLaneOf(api, await createOrganization(database.superuser));
    const id = await lane.holdId(5);
    for (const [step, row] of [
      ['capture', {}],
      ['release', {}],
      ['extend', { lifetimeSeconds: 5 }],
      ['grow', { tokens: 1, key: 'k' }],
    ] as const) {
      expect(outcomes(await other.rows(`holds/${step}`, [{ id, ...row }]))).toEqual(['hold_not_found']);
    }
    expect(await leads()).toEqual([495, 5]);
  });
});

describe('the whole array is refused, with nothing written and nothing moved:', () => {
  const ROUTES = ['holds', 'holds/capture', 'holds/release', 'holds/extend', 'holds/grow'];
  let untouched: unknown;
  beforeEach(async () => {
    untouched = await traces(database, organization.organizationId);
  });
  afterEach(async () => {
    expect(await traces(database, organization.organizationId)).toEqual(untouched);
  });

  test.each(ROUTES)('%s of more than a thousand rows, and over 512 KiB', async (route) => {
    const many = await lane.rows(route, Array(1_001).fill({ key: 'a' }));
    expect(expectProblem(many, 'invalid_request').errors).toEqual([
      { path: '', message: 'must have at most 1000 rows' },
    ]);
    expectProblem(await lane.rows(route, `["${'x'.repeat(524_290)}"]`), 'payload_too_large');
    expectProblem(await lane.rows(route, '[1,'), 'malformed_json');
    expectProblem(await lane.rows(route, `${'['.repeat(30)}${']'.repeat(30)}`), 'invalid_request');
  });

  test.each(ROUTES)('%s with an Idempotency-Key', async (route) => {
    const reply = await api.call(`/api/v1/${route}`, {
      key: organization.secret,
      json: [wish('a')],
      headers: { 'Idempotency-Key': 'all' },
    });
    expectProblem(reply, 'idempotency_key_not_taken');
  });

  test.each(ROUTES.slice(1))('%s with one object', async (route) => {
    expectProblem(await lane.rows(route, { id: 'x' }), 'invalid_request');
  });

  test('the longest rows fit', async () => {
    const other = await createOrganization(database.superuser, 'starter');
    const rows = Array.from({ length: 1_000 }, (_, n) =>
      wish(`${n}`.padStart(255, 'x'), Number.MAX_SAFE_INTEGER, { lifetimeSeconds: 86_400 }),
    );
    const reply = await holdLaneOf(api, other).rows('holds', rows);
    expect(outcomes(reply)).toEqual(Array(1_000).fill('feature_not_available'));
  });
});
