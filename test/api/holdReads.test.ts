import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Hold, holdList, hold as holdSchema } from '../../contract/holds.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { type HoldPage, type HoldPosition, listHolds } from '../../db/holdReads.ts';
import { holdTokens } from '../../db/holds.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { type HoldLane, holdLaneOf } from './holdLane.ts';
import { expectProblem, runToTheEnd, startTestApi, type TestApi, traces } from './testApi.ts';

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

async function read(id: string): Promise<Hold> {
  const reply = await lane.get(`holds/${encodeURIComponent(id)}`);
  expect(reply.status, reply.text).toBe(200);
  return holdSchema.parse(reply.body);
}

/** Page by page, to the end. */
async function list(query: Record<string, string> = {}): Promise<Hold[]> {
  const holds: Hold[] = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const parameters = new URLSearchParams({ ...query, ...(cursor === '' ? {} : { cursor }) });
    const page = holdList.parse((await lane.get(`holds?${parameters}`)).body);
    holds.push(...page.holds);
    cursor = page.nextCursor;
  }
  return holds;
}

describe('one hold', () => {
  test('shows what it set aside, what its charges took, and what came back of them', async () => {
    const id = await lane.holdId(10);
    expect(await read(id)).toMatchObject({
      state: 'held',
      tokens: 10,
      captured: 0,
      open: 10,
      endedAt: null,
      charges: [],
    });
    await lane.grow(id, { tokens: 5 });
    await lane.capture(id, { tokens: 3, isLast: false }, 'part');
    expect(await read(id)).toMatchObject({ state: 'held', tokens: 15, captured: 3, open: 12 });
    await lane.capture(id, { tokens: 4 });
    await lane.refund(`${id}.1`, { tokens: 1, reason: 'empty' });
    const found = await read(id);
    expect(found).toMatchObject({
      state: 'captured',
      feature: 'generate_leads',
      tokenType: 'lead_generation',
      tokens: 15,
      captured: 7,
      open: 0,
      jobId: null,
    });
    expect(found.endedAt).not.toBeNull();
    expect(found.charges).toEqual([
      { chargeId: `${id}.1`, tokens: 3, refunded: 1, links: { refund: `/api/v1/charges/${id}.1/refund` } },
      { chargeId: `${id}.2`, tokens: 4, refunded: 0, links: { refund: `/api/v1/charges/${id}.2/refund` } },
    ]);
  });

  test('that was charged in parts only, to the end, has those charges and no other', async () => {
    const id = await lane.holdId(5);
    await lane.capture(id, { tokens: 2, isLast: false }, 'one');
    await lane.capture(id, { tokens: 3, isLast: false }, 'two');
    expect((await read(id)).charges.map(({ tokens }) => tokens)).toEqual([2, 3]);
    await lane.release(id);
    expect(await read(id)).toMatchObject({ state: 'released', captured: 5, open: 0, charges: { length: 2 } });
  });

  test('that ended with nothing left to charge has no charge for its end', async () => {
    const id = await lane.holdId(5);
    await lane.capture(id, { tokens: 5, isLast: false }, 'all');
    await database.superuser.query(`select tollgate.set_capture_rule($1, 'cap')`, [organization.organizationId]);
    expect((await lane.capture(id, { tokens: 2 })).body).toMatchObject({
      state: 'captured',
      captured: 0,
      chargeId: null,
    });
    expect((await read(id)).charges.map(({ chargeId, tokens }) => [chargeId, tokens])).toEqual([[`${id}.1`, 5]]);
  });

  test('I8 that has lapsed reads so at once, and reading it writes nothing', async () => {
    const id = await lane.holdId(5, { lifetimeSeconds: 60 });
    await elapse(database.superuser, organization.organizationId, '2 minutes');
    const untouched = await traces(database, organization.organizationId);
    const lapsed = await read(id);
    expect(lapsed).toMatchObject({ state: 'lapsed', open: 0, endedAt: lapsed.expiresAt });
    expect(await list({ state: 'lapsed' })).toEqual([lapsed]);
    expect(await list({ state: 'held' })).toEqual([]);
    expect(await traces(database, organization.organizationId)).toEqual(untouched);
    await lane.hold();
    expect(await read(id)).toEqual(lapsed);
  });

  test('of a job names it, and is read by its id whatever stands in that', async () => {
    const { body: job } = await api.post(organization);
    await runToTheEnd(database, organization.organizationId, job.id);
    expect(await read(job.id)).toMatchObject({ jobId: job.id, state: 'captured', charges: [{ tokens: 3 }] });
    for (const id of [`again:${job.id}`, `late:${job.id}`, 'nothing', "x'--", 'x'.repeat(65), 'capture']) {
      expectProblem(await lane.get(`holds/${encodeURIComponent(id)}`), 'hold_not_found');
    }
  });
});

describe('the list of holds', () => {
  test('puts those that expire last first, page by page, each once, many of one instant too', async () => {
    const placed = (
      await lane.rows(
        'holds',
        Array.from({ length: 45 }, (_, n) => ({
          key: `k${n}`,
          feature: n % 3 === 0 ? 'generate_insight' : 'analyze_strategy',
          tokens: 1,
          lifetimeSeconds: n < 30 ? 600 : 1_200,
        })),
      )
    ).body as { id: string }[];
    const holds = await list({ limit: '7' });
    expect(holds.map(({ id }) => id).toSorted()).toEqual(placed.map(({ id }) => id).toSorted());
    const order = holds.map(({ expiresAt }) => expiresAt);
    expect(order).toEqual(order.toSorted().toReversed());
    expect(new Set(order).size).toBeLessThan(10);
    expect((await list({ limit: '100' })).map(({ id }) => id)).toEqual(holds.map(({ id }) => id));
    expect(await list({ feature: 'generate_insight', limit: '4' })).toHaveLength(15);
  });

  test('is filtered by state, as it is now', async () => {
    const [held, captured, released] = [await lane.holdId(1), await lane.holdId(2), await lane.holdId(3)];
    await lane.capture(captured);
    await lane.release(released);
    for (const [state, id] of Object.entries({ held, captured, released })) {
      expect((await list({ state })).map((found) => [found.id, found.state])).toEqual([[id, state]]);
    }
    expect(await list({ state: 'lapsed' })).toEqual([]);
    expect(await list({ state: 'held', feature: 'generate_goal' })).toEqual([]);
  });

  test('reads a page by the index and not the rest, before the first analyze and after it', async () => {
    const { organizationId } = organization;
    await database.superuser.query('update ai_tokens set balance = 10000 where organization_id = $1', [organizationId]);
    const holder = holderOf(database.api, organization);
    for (let n = 0; n < 8; n++) {
      const batch = Array.from({ length: 1_000 }, (_, m) =>
        holder.request(`h${n}-${m}`, 1, { lifetimeMs: 60_000 + n * 1_000 + m }),
      );
      await holdTokens(database.api, batch);
    }
    for (const statement of ['select', 'analyze tollgate.holds']) {
      await database.superuser.query(statement);
      for (const rest of [
        'null, null, null, null',
        `'held', null, clock_timestamp() + interval '63 seconds', 'x'`,
        `null, 'generate_leads', null, null`,
      ]) {
        const client = await database.superuser.connect();
        await client.query('begin');
        await client.query("select set_config('tollgate.organizations', $1, true)", [organizationId]);
        const list = `explain (analyze, buffers, format json) select * from tollgate.list_holds('${organizationId}', ${rest}, 21, 5000)`;
        await client.query(list);
        const { rows } = await client.query(list);
        await client.query('rollback');
        client.release();
        const plan = rows[0]['QUERY PLAN'][0].Plan;
        expect(plan['Actual Rows']).toBe(21);
        expect(plan['Shared Hit Blocks'] + plan['Shared Read Blocks'], `${statement}: ${rest}`).toBeLessThan(100);
      }
    }
    // None of them is captured, and a page does not look at all of them: an empty one that is not the last.
    const { holds, nextCursor } = (await lane.get('holds?state=captured')).body;
    expect([holds, typeof nextCursor]).toEqual([[], 'string']);
    expect((await lane.get(`holds?state=captured&cursor=${nextCursor}`)).body).toEqual({ holds: [], nextCursor: null });
  });

  test('narrowed to what few holds are looks at some of them for each page, and passes none over', async () => {
    const { organizationId } = organization;
    const holder = holderOf(database.api, organization);
    const expected: string[] = [];
    for (const [n, feature] of (['generate_leads', 'generate_insight'] as const).entries()) {
      // Ten at one instant each; those of the second type expire in between.
      for (let m = 0; m < 50; m += 10) {
        const change = { feature, lifetimeMs: 6_000_000 - m * 100_000 - n * 50_000 };
        await holdTokens(
          database.api,
          Array.from({ length: 10 }, (_, k) => holder.request(`h${n}-${m + k}`, 1, change)),
        );
      }
    }
    for (const id of ['h0-4', 'h0-3', 'h1-9', 'h0-45', 'h1-45', 'h1-40']) {
      await holder.release(id);
      expected.push(id);
    }
    for (const limit of [1, 2, 3, 20]) {
      for (const mostWalked of [21, 30, 49, 50, 51, 5_000]) {
        const pages: string[][] = [];
        let after: HoldPosition | null = null;
        do {
          const page: HoldPage = await listHolds(database.api, organizationId, {
            limit,
            after,
            state: 'released',
            mostWalked,
          });
          pages.push(page.holds.map(({ id }) => id));
          after = page.after;
        } while (after !== null);
        expect(pages.flat(), `${limit} of ${mostWalked}`).toEqual(expected);
        if (mostWalked === 21 && limit === 20) expect(pages.map((page) => page.length)).toEqual([3, 3]);
      }
    }
  });

  test.each([
    'limit=0',
    'limit=101',
    'limit=1&limit=2',
    'state=open',
    'feature=generate_money',
    'cursor=x',
    'cursor=',
    'other=1',
  ])('?%s is refused', async (query) => {
    expectProblem(await lane.get(`holds?${query}`), 'invalid_request');
  });

  test('takes a cursor of its own only: the same organization, state and feature', async () => {
    for (let n = 0; n < 3; n++) await lane.hold();
    const { nextCursor } = (await lane.get('holds?limit=2')).body;
    expect((await lane.get(`holds?limit=2&cursor=${nextCursor}`)).body.holds).toHaveLength(1);
    const other = holdLaneOf(api, await createOrganization(database.superuser));
    expectProblem(await other.get(`holds?limit=2&cursor=${nextCursor}`), 'invalid_request');
    expectProblem(await lane.get(`holds?state=held&cursor=${nextCursor}`), 'invalid_request');
    expectProblem(await lane.get(`holds?cursor=${nextCursor.slice(0, -2)}`), 'invalid_request');
  });
});

test('I9 another organization’s holds are neither found nor listed', async () => {
  const id = await lane.holdId(5);
  const other = holdLaneOf(api, await createOrganization(database.superuser));
  expectProblem(await other.get(`holds/${id}`), 'hold_not_found');
  expect((await other.get('holds')).body).toEqual({ holds: [], nextCursor: null });
  // In the database too: the function shows nothing of a tenant that was not named.
  const { rows } = await database.api.query('select * from tollgate.list_holds($1, null, null, null, null, 10, 10)', [
    organization.organizationId,
  ]);
  expect(rows).toEqual([]);
});

test('no credentials, and a key without the scope, read nothing', async () => {
  const writer = await createApiKey(database.superuser, { ...organization, name: 'w', scopes: ['tokens:write'] });
  for (const path of ['/api/v1/holds', '/api/v1/holds/x']) {
    expectProblem(await api.call(path), 'unauthorized');
    expect(expectProblem(await api.call(path, { key: writer.secret }), 'scope_missing').scope).toBe('tokens:read');
  }
});
