import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { quote as quoteSchema } from '../../contract/quotes.ts';
import { problemRow } from '../../contract/rows.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { addGrant } from '../support/grant.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
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
afterAll(async () => {
  await api.close();
  await database.drop();
});

// Whatever is asked here, nothing is written and nothing moves.
let untouched: unknown;
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  lane = holdLaneOf(api, organization);
  await addGrant(database.superuser, organization.organizationId, { source: 'purchase', amount: 10, isPaid: true });
  untouched = await traces(database, organization.organizationId);
});
afterEach(async () => {
  expect(await traces(database, organization.organizationId)).toEqual(untouched);
});

describe('a quote', () => {
  test('says what a hold would cost, and from which grants, in the order in which they would burn', async () => {
    const reply = await lane.rows('quotes', { feature: 'generate_leads', tokens: 55 });
    expect([reply.status, quoteSchema.parse(reply.body)]).toMatchObject([
      200,
      {
        feature: 'generate_leads',
        outcome: 'held',
        sufficient: true,
        tokenType: 'lead_generation',
        tokens: 55,
        available: 60,
        grants: [
          { source: 'allowance', isPaid: false, tokens: 50 },
          { source: 'purchase', isPaid: true, tokens: 5, expiresAt: null },
        ],
        links: { hold: '/api/v1/holds' },
      },
    ]);
    expect(reply.body.grants[0].expiresAt).not.toBeNull();
  });

  test('is of the price when nothing else is asked for, and of so many times the price', async () => {
    expect((await lane.rows('quotes', { feature: 'generate_leads' })).body.tokens).toBe(5);
    expect((await lane.rows('quotes', { feature: 'generate_leads', quantity: 12 })).body).toMatchObject({
      tokens: 60,
      sufficient: true,
    });
    expect((await lane.rows('quotes', { feature: 'generate_leads', quantity: 13 })).body).toMatchObject({
      outcome: 'tokens_insufficient',
      sufficient: false,
      available: 60,
      grants: [],
    });
  });

  test('is an answer too where a hold would be refused: by the plan, by a limit', async () => {
    const starter = holdLaneOf(api, await createOrganization(database.superuser, 'starter'));
    expect((await starter.rows('quotes', { feature: 'generate_leads' })).body).toMatchObject({
      outcome: 'feature_not_available',
      sufficient: false,
    });
    await database.superuser.query(
      `select tollgate.set_sub_limit($1, 'lead_generation', 'feature', 'generate_leads', 'day', 7)`,
      [organization.organizationId],
    );
    const limited = await lane.rows('quotes', [
      { feature: 'generate_leads', tokens: 7 },
      { feature: 'generate_leads', tokens: 8 },
    ]);
    expect(limited.body).toMatchObject([{ outcome: 'held' }, { outcome: 'limit_reached', sufficient: false }]);
  });

  test('of a thousand at once is a thousand, each as if it were alone, bad rows in their places', async () => {
    const rows = Array.from({ length: 1_000 }, (_, n) =>
      n % 5 === 4 ? { feature: 'generate_money' } : n % 5 === 3 ? null : { feature: 'generate_leads', tokens: 60 },
    );
    const { status, body } = await lane.rows('quotes', rows);
    expect([status, body.length]).toEqual([200, 1_000]);
    for (const [n, row] of body.entries()) {
      if (n % 5 < 3) expect(quoteSchema.parse(row)).toMatchObject({ sufficient: true, grants: { length: 2 } });
      else expect(problemRow.parse(row).code).toBe(n % 5 === 4 ? 'feature_unknown' : 'invalid_request');
    }
  });
});

describe('is refused:', () => {
  test.each(NO_AMOUNTS.flatMap((amount) => ['tokens', 'quantity'].map((field) => [field, amount] as const)))(
    'S4 %s %s',
    async (field, amount) => {
      const row = `{"feature":"generate_leads","${field}":${amount}}`;
      expect(expectProblem(await lane.rows('quotes', row), 'invalid_request').errors?.[0]?.path).toBe(field);
      expect((await lane.rows('quotes', `[${row}]`)).body).toMatchObject([
        { code: 'invalid_request', errors: expect.arrayContaining([expect.objectContaining({ path: field })]) },
      ]);
    },
  );

  test('both amounts, a product that is no amount, unknown fields and features, too many rows', async () => {
    const feature = 'generate_leads';
    expectProblem(await lane.rows('quotes', { feature, tokens: 1, quantity: 1 }), 'invalid_request');
    expectProblem(await lane.rows('quotes', { feature, quantity: 2 ** 52 }), 'invalid_request');
    expectProblem(await lane.rows('quotes', { feature, organizationId: 'x' }), 'invalid_request');
    expectProblem(await lane.rows('quotes', `{"feature":"${feature}","__proto__":{}}`), 'invalid_request');
    expectProblem(await lane.rows('quotes', { feature: 'generate_money' }), 'feature_unknown');
    expectProblem(await lane.rows('quotes', Array(1_001).fill({ feature })), 'invalid_request');
    expectProblem(await lane.rows('quotes', 'null'), 'invalid_request');
    expect((await lane.rows('quotes', [])).body).toEqual([]);
  });

  test('no credentials, and a key without the scope', async () => {
    const json = { feature: 'generate_leads' };
    expectProblem(await api.call('/api/v1/quotes', { json }), 'unauthorized');
    const writer = await createApiKey(database.superuser, { ...organization, name: 'w', scopes: ['tokens:write'] });
    const reply = await api.call('/api/v1/quotes', { json, key: writer.secret });
    expect(expectProblem(reply, 'scope_missing').scope).toBe('tokens:read');
  });
});
