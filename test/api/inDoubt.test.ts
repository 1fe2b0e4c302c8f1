import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { type HoldLane, holdLaneOf } from './holdLane.ts';
import { startTcpProxy, type TcpProxy } from './tcpProxy.ts';
import { expectProblem, type Reply, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let proxy: TcpProxy;
let api: TestApi;
let organization: TestOrganization;
let lane: HoldLane;
beforeAll(async () => {
  database = await freshDatabase();
  const url = new URL(database.apiUrl);
  proxy = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
  url.hostname = '127.0.0.1';
  url.port = `${proxy.port}`;
  api = await startTestApi(database, { databaseUrl: url.href });
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  lane = holdLaneOf(api, organization);
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await proxy.close();
  await database.drop();
});

/**
 * Sends a request whose statement commits and whose connection is lost before the answer. The caller is known by then: his
 * balance is locked until his statement waits for it.
 */
async function losingItsAnswer(send: () => Promise<Reply>): Promise<Reply> {
  const before = await traces(database, organization.organizationId);
  const client = await database.superuser.connect();
  await client.query('begin');
  await client.query('select from tollgate.balances where organization_id = $1 for update', [
    organization.organizationId,
  ]);
  const reply = send();
  await until(async () => {
    const { rowCount } = await database.superuser.query(
      `select from pg_stat_activity a
        where a.datname = current_database() and a.application_name = 'tollgate-api-test' and a.wait_event_type = 'Lock'`,
    );
    return rowCount === 1;
  });
  proxy.set('lose_answers');
  await client.query('commit');
  client.release();
  await until(
    async () => JSON.stringify(await traces(database, organization.organizationId)) !== JSON.stringify(before),
  );
  // The connections with bytes missing are cut; new ones come through.
  proxy.set('pass');
  return reply;
}

describe('C4: the commit was sent and the connection is lost', () => {
  test.each<{
    what: string;
    send: (id: string) => Promise<Reply>;
    status?: number;
    body: object | object[];
    left: [available: number, held: number];
  }>([
    {
      what: 'a hold',
      send: () => lane.hold({ feature: 'generate_leads', tokens: 7 }, 'k'),
      status: 201,
      body: { tokens: 7, tokenType: 'lead_generation' },
      left: [33, 17],
    },
    {
      what: 'a capture',
      send: (id) => lane.capture(id, { tokens: 4 }),
      body: { captured: 4, returned: 6 },
      left: [46, 0],
    },
    {
      what: 'a part',
      send: (id) => lane.capture(id, { tokens: 4, isLast: false }, 'part'),
      body: { captured: 4, state: 'held' },
      left: [40, 6],
    },
    { what: 'a release', send: (id) => lane.release(id), body: { returned: 10 }, left: [50, 0] },
    { what: 'a growth', send: (id) => lane.grow(id, { tokens: 5 }, 'more'), body: { tokens: 15 }, left: [35, 15] },
    {
      what: 'an array',
      send: () =>
        lane.rows('holds', [
          { key: 'a', feature: 'generate_leads', tokens: 2 },
          { key: 'b', feature: 'generate_leads', tokens: 100 },
          { key: 'a', feature: 'generate_leads', tokens: 2 },
        ]),
      body: [{ tokens: 2 }, { code: 'tokens_insufficient' }, { tokens: 2, replayed: true }],
      left: [38, 12],
    },
  ])('$what is looked up by its id, answered as done, and done once', async ({ send, status = 200, body, left }) => {
    const id = await lane.holdId(10);
    const reply = await losingItsAnswer(() => send(id));
    expect(reply.status, reply.text).toBe(status);
    expect(reply.body).toMatchObject(body);
    const after = await traces(database, organization.organizationId);
    const again = await send(id);
    expect(again.body).toMatchObject(body);
    expect(await traces(database, organization.organizationId)).toEqual(after);
    expect(await leads()).toEqual(left);
  });

  test.each<{ what: string; send: (chargeId: string) => Promise<Reply>; body: object; left: number }>([
    {
      what: 'a refund',
      send: (chargeId) => lane.refund(chargeId, { tokens: 3, reason: 'of no use' }, 'back'),
      body: { refunded: 3, available: 43 },
      left: 43,
    },
    {
      what: 'a deduction',
      send: () =>
        api.call('/api/v1/tokens/check-balance', {
          key: organization.secret,
          headers: { 'Idempotency-Key': 'deduct' },
          json: { organizationId: organization.organizationId, featureUsed: 'generate_leads', action: 'deduct' },
        }),
      body: { success: true, remainingBalance: 35 },
      left: 35,
    },
  ])('$what is 503, and what was done is the answer to its repeat under the same key', async ({ send, body, left }) => {
    const id = await lane.holdId(10);
    await lane.capture(id);
    const lost = await losingItsAnswer(() => send(`${id}.1`));
    expectProblem(lost, 'database_unavailable');
    expect(lost.headers.get('retry-after')).toBe('1');
    const after = await traces(database, organization.organizationId);
    const again = await send(`${id}.1`);
    expect(again.body).toMatchObject(body);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    expect(await traces(database, organization.organizationId)).toEqual(after);
    expect(await leads()).toEqual([left, 0]);
  });
});

async function leads(): Promise<[available: number, held: number]> {
  const { available, held } = await balanceOf(database.superuser, organization.organizationId, 'lead_generation');
  return [available, held];
}
