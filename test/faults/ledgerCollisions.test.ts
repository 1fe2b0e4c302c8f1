import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DatabaseFault } from '../../db/faults.ts';
import { type HoldPlacement, holdTokens } from '../../db/holds.ts';
import { createPool } from '../../db/pool.ts';
import { expectProblem, startTestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

/** db/faults.ts: one try and three repeats. */
const ATTEMPTS = 4;

let database: TestDatabase;
let organization: TestOrganization;
let holder: Holder;
/** The ledger's own connections, to which nothing but their settings here was done. */
let pool: pg.Pool;
let outsiders: pg.Client[];

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'enterprise');
  holder = holderOf(database.api, organization);
  outsiders = [];
});
afterEach(async () => {
  await Promise.all(outsiders.map((client) => client.end()));
  await pool.end();
  await database.superuser.query(`alter role tollgate_api in database ${database.name} reset all`);
  await expectInvariants(database.superuser);
});

async function ledgerWith(setting: string): Promise<void> {
  await database.superuser.query(`alter role tollgate_api in database ${database.name} set ${setting}`);
  pool = createPool({ url: database.apiUrl, applicationName: 'collides' });
}

async function outsider(): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.superuserUrl });
  await client.connect();
  outsiders.push(client);
  // Whoever of the two notices the deadlock gives way: it must be the ledger.
  await client.query(`set deadlock_timeout = '1min'`);
  await client.query('begin');
  return client;
}

const touch = (client: pg.Client, tokenType: string) =>
  client.query(
    'update tollgate.balances b set available = b.available where b.organization_id = $1 and b.token_type = $2',
    [organization.organizationId, tokenType],
  );

/** Until a connection of the pool waits for somebody else's lock. */
const ledgerWaits = () =>
  until(async () => {
    const { rowCount } = await database.superuser.query(
      `select from pg_stat_activity a
        where a.datname = $1 and a.usename = 'tollgate_api' and a.wait_event_type = 'Lock'`,
      [database.name],
    );
    return rowCount! > 0;
  });

const held = async () => {
  const of = (tokenType: string) => balanceOf(database.superuser, organization.organizationId, tokenType);
  return [(await of('goal_generation')).held, (await of('lead_generation')).held];
};

describe('C10: a deadlock with somebody who locks the same balances in the other order', () => {
  const batch = () => [
    holder.request('goal', 2, { feature: 'generate_goal' }),
    holder.request('lead', 5, { feature: 'generate_leads' }),
  ];

  /** Lets the batch run into so many deadlocks. It has locked the goals then, and waits for the leads. */
  async function collide(times: number): Promise<HoldPlacement[]> {
    // The server's own second, halved.
    await ledgerWith(`deadlock_timeout = '500ms'`);
    const other = await outsider();
    await touch(other, 'lead_generation');
    const placed = holdTokens(pool, batch());
    placed.catch(() => {});
    for (let time = 0; time < times; time++) {
      await other.query('savepoint before');
      await ledgerWaits();
      await touch(other, 'goal_generation');
      // That came through, so the ledger has given way. It tries again, and finds its first lock free.
      await other.query('rollback to savepoint before');
    }
    if (times < ATTEMPTS) await other.query('rollback');
    return placed;
  }

  it.each([1, ATTEMPTS - 1])('%i times: the batch is repeated, and done once', async (times) => {
    expect(await collide(times)).toMatchObject([
      { outcome: 'held', isRepeat: false },
      { outcome: 'held', isRepeat: false },
    ]);
    expect(await held()).toEqual([2, 5]);
  });

  it('again and again: a bounded number of tries, then a DatabaseFault, and nothing moved', async () => {
    const fault = await collide(ATTEMPTS).catch((error) => error);
    expect(fault).toBeInstanceOf(DatabaseFault);
    // All of it was undone, so its fate is known and nobody needs to ask.
    expect(fault).toMatchObject({ sqlState: '40P01', isInDoubt: false });
    expect(await held()).toEqual([0, 0]);
  });
});

describe('C10: a serialization failure', () => {
  /** Lets whoever moves leads fail so many times: each time somebody else has changed the balance meanwhile. */
  async function collide<T>(times: number, call: () => Promise<T>): Promise<T> {
    let before = await outsider();
    await touch(before, 'lead_generation');
    const answer = call();
    answer.catch(() => {});
    for (let time = 0; time < times; time++) {
      await ledgerWaits();
      // The next one waits behind the ledger, so that it is there before the ledger's next try.
      const next = await outsider();
      const touched = touch(next, 'lead_generation');
      await until(async () => {
        const { rowCount } = await database.superuser.query(
          `select from pg_stat_activity a where a.datname = $1 and a.wait_event_type = 'Lock'`,
          [database.name],
        );
        return rowCount === 2;
      });
      await before.query('commit');
      await touched;
      before = next;
    }
    if (times < ATTEMPTS) await before.query('rollback');
    return answer;
  }

  beforeEach(() => ledgerWith(`default_transaction_isolation = 'repeatable read'`));

  it.each([1, ATTEMPTS - 1])('%i times: the call is repeated, and done once', async (times) => {
    const [placed] = await collide(times, () => holdTokens(pool, [holder.request('lead', 5)]));
    expect(placed).toMatchObject({ outcome: 'held', isRepeat: false });
    expect(await held()).toEqual([0, 5]);
  });

  it('again and again: a bounded number of tries, then 503 with Retry-After over HTTP, and nothing moved', async () => {
    const api = await startTestApi(database);
    const hold = () =>
      api.call('/api/v1/holds', {
        key: organization.secret,
        json: { feature: 'generate_leads', tokens: 5 },
        headers: { 'Idempotency-Key': 'lead' },
      });
    const reply = await collide(ATTEMPTS, hold);
    expectProblem(reply, 'database_unavailable');
    expect(reply.headers.get('retry-after')).toBe('1');
    // The last of them ended it: no further try went on to wait for a lock.
    expect(api.logLines.filter((line) => line.includes('40001'))).toHaveLength(1);
    expect(await held()).toEqual([0, 0]);
    await outsiders.at(-1)!.query('rollback');
    expect(await hold()).toMatchObject({ status: 201 });
    expect(await held()).toEqual([0, 5]);
    await api.close();
  });
});
