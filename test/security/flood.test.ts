import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPool } from '../../db/pool.ts';
import { readAs } from '../../db/tenant.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { startTransactionPooler } from './transactionPooler.ts';

/**
 * Two tenants flood one API over two connections that all requests share, transaction by transaction. PgBouncer itself where it is
 * installed would be the better witness; the stand-in keeps to what makes its transaction mode dangerous.
 */
let database: TestDatabase;
let pooler: Awaited<ReturnType<typeof startTransactionPooler>>;
let api: TestApi;
beforeAll(async () => {
  if (spawnSync('pgbouncer', ['--version']).status !== 0) {
    console.warn('PgBouncer is not installed: the flood goes through a stand-in for its transaction mode.');
  }
  database = await freshDatabase();
  pooler = await startTransactionPooler(database.apiUrl, { servers: 2 });
  api = await startTestApi(database, { databaseUrl: pooler.url });
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await pooler.close();
  await database.drop();
});

const ROUNDS = 12;

test('S3: two tenants over one small transaction pool never see a row of the other', async () => {
  const tenants = [
    await createOrganization(database.superuser, 'enterprise', 'flood-left'),
    await createOrganization(database.superuser, 'enterprise', 'flood-right'),
  ] as const;
  const strangers = createPool({ url: pooler.url, applicationName: 'nobody', maxConnections: 4 });
  let seenByNobody = 0;
  let asked = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const replies = await Promise.all([
      ...tenants.flatMap((tenant) => requestsOf(tenant, round).map((request) => ask(tenant, request))),
      // Somebody on the same connections who has named no tenant.
      ...Array.from({ length: 8 }, async () => {
        const { rowCount } = await strangers.query('select from tollgate.balances');
        seenByNobody += rowCount ?? 0;
        return [];
      }),
    ]);
    const foreign = replies.flat();
    expect(foreign).toEqual([]);
    asked += replies.length;
  }
  await strangers.end();
  expect(seenByNobody).toBe(0);
  expect(asked).toBe(ROUNDS * (2 * 40 + 8));
  // Both connections carried work, and far more of it than there are connections.
  expect(Math.min(...pooler.carried())).toBeGreaterThan(ROUNDS * 10);

  /** What an answer says of the other tenant: its id, or any hold that it named. */
  async function ask(tenant: TestOrganization, { path, json, key }: Asked): Promise<string[]> {
    const reply = await api.call(path, {
      key: tenant.secret,
      ...(json === undefined ? {} : { json }),
      ...(key === undefined ? {} : { headers: { 'Idempotency-Key': key } }),
    });
    if (reply.status >= 300) return [`${path}: ${reply.status} ${reply.text}`];
    const other = tenants.find(({ organizationId }) => organizationId !== tenant.organizationId)!;
    return reply.text.includes(other.organizationId) ? [`${path}: ${reply.text}`] : [];
  }
}, 60_000);

test('the same pool shows a tenant that was set for the session to whoever comes next: what the flood would catch', async () => {
  const careless = createPool({ url: pooler.url, applicationName: 'careless', maxConnections: 1 });
  const stranger = createPool({ url: pooler.url, applicationName: 'stranger', maxConnections: 1 });
  const { organizationId } = await createOrganization(database.superuser, 'pro', 'flood-careless');
  for (let connection = 0; connection < 2; connection++) {
    await careless.query("select set_config('tollgate.organizations', $1, false)", [organizationId]);
  }
  const seen = await Promise.all(Array.from({ length: 4 }, () => stranger.query('select from tollgate.balances')));
  expect(Math.max(...seen.map(({ rowCount }) => rowCount ?? 0))).toBeGreaterThan(0);
  // And what this code does is not misled by it.
  const own = await readAs(stranger, ['flood-left'], (client) =>
    client.query('select distinct organization_id as id from tollgate.balances'),
  );
  expect(own.rows).toEqual([{ id: 'flood-left' }]);
  await Promise.all([careless.end(), stranger.end()]);
});

interface Asked {
  path: string;
  json?: unknown;
  key?: string;
}

function requestsOf({ organizationId }: TestOrganization, round: number): Asked[] {
  return Array.from({ length: 5 }, (_, n) => `${organizationId}-${round}-${n}`).flatMap((key): Asked[] => [
    { path: '/api/v1/balances' },
    { path: '/api/v1/ledger?tokenType=general&limit=5' },
    { path: '/api/v1/holds?limit=5' },
    { path: `/api/v1/tokens/stats?organizationId=${organizationId}` },
    { path: '/api/v1/holds', json: { feature: 'generate_insight' }, key },
    { path: '/api/v1/quotes', json: { feature: 'generate_goal' } },
    {
      path: '/api/v1/tokens/check-balance',
      json: { organizationId, featureUsed: 'generate_insight', action: 'deduct', metadata: { said: organizationId } },
    },
    { path: '/api/v1/tokens/check-balance', json: { organizationId, featureUsed: 'generate_goal', action: 'check' } },
  ]);
}
