import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { sealLedger } from '../../db/seals.ts';
import { verify } from '../../db/verify.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { appendEntries } from '../support/entries.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { ledgerAsTable } from '../support/ledgerAsTable.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let organization: TestOrganization;
beforeAll(async () => {
  database = await freshDatabase();
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await database.drop();
});

/** Pages until the last one, as the worker does. */
async function sealAll(balances = 100) {
  const sum = { pages: 0, balances: 0, seals: 0, entries: 0, gaps: 0 };
  let after: Parameters<typeof sealLedger>[1]['after'] = null;
  do {
    const page = await sealLedger(database.worker, { after, balances });
    after = page.next;
    sum.pages += 1;
    for (const figure of ['balances', 'seals', 'entries', 'gaps'] as const) sum[figure] += page[figure];
  } while (after !== null);
  return sum;
}

async function sealsOf(organizationId: string) {
  const { rows } = await database.superuser.query(
    `select seal_number as "sealNumber", first_entry as "firstEntry", last_entry as "lastEntry"
       from tollgate.ledger_seals where organization_id = $1 and token_type = 'lead_generation' order by first_entry`,
    [organizationId],
  );
  return rows;
}

it('seals every entry once, at most 1,000 to a seal, and finds nothing to do the second time', async () => {
  await sealAll();
  const { organizationId } = organization;
  await appendEntries(database.superuser, organizationId, 2_400);
  expect(await sealAll()).toMatchObject({ seals: 3, entries: 2_400, gaps: 0 });
  expect(await sealsOf(organizationId)).toEqual([
    { sealNumber: 1, firstEntry: 1, lastEntry: 1 },
    { sealNumber: 2, firstEntry: 2, lastEntry: 1_001 },
    { sealNumber: 3, firstEntry: 1_002, lastEntry: 2_001 },
    { sealNumber: 4, firstEntry: 2_002, lastEntry: 2_401 },
  ]);
  expect(await sealAll()).toMatchObject({ seals: 0, entries: 0 });
  expect(await verify(database.auditor)).toEqual([]);
});

it('goes through every balance whatever the size of a page, organizations without one and a call’s bound included', async () => {
  const { organizationId } = organization;
  await database.superuser.query(`set session_replication_role = replica;
    insert into organizations (id, name, plan) select 'empty-' || n, 'Empty', 'pro' from generate_series(1, 7) n;
    set session_replication_role = origin`);
  const others = await Promise.all([1, 2, 3].map(() => createOrganization(database.superuser)));
  await appendEntries(database.superuser, organizationId, 25_000);
  const { rows } = await database.superuser.query('select count(*) from tollgate.balances');
  const sealed = await sealAll(2);
  expect(sealed).toMatchObject({ balances: rows[0].count, gaps: 0 });
  // One call hashes some 5,000 entries: this balance took several.
  expect(sealed.entries).toBeGreaterThan(25_000);
  expect((await sealsOf(organizationId)).at(-1)).toMatchObject({ lastEntry: 25_001 });
  for (const { organizationId } of others) expect(await sealsOf(organizationId)).toHaveLength(1);
});

it('three sealers at once, beside movements that go on: each entry is sealed once, and the chain is whole', async () => {
  const { organizationId } = organization;
  const holder = holderOf(database.api, organization);
  await addGrant(database.superuser, organizationId, { amount: 100_000 });
  let isMoving = true;
  const moving = Promise.all(
    [1, 2, 3].map(async (lane) => {
      for (let n = 0; n < 60; n++) {
        await holder.hold(`h-${lane}-${n}`, 1);
        await holder.capture(`h-${lane}-${n}`);
      }
    }),
  ).finally(() => {
    isMoving = false;
  });
  const sealing = [1, 2, 3].map(async () => {
    while (isMoving) await sealAll(3);
  });
  await Promise.all([moving, ...sealing]);
  await sealAll();
  const seals = await sealsOf(organizationId);
  expect(seals.length).toBeGreaterThan(3);
  expect(seals.at(-1)).toMatchObject({ lastEntry: 2 + 360 });
  expect(await verify(database.auditor)).toEqual([]);
});

it('neither waits for a balance that a movement holds, nor seals what that movement has not committed', async () => {
  const { organizationId } = organization;
  const client = await database.superuser.connect();
  try {
    await client.query('begin');
    await client.query(`update ai_tokens set balance = balance + 1 where organization_id = $1`, [organizationId]);
    await sealAll();
    expect(await sealsOf(organizationId)).toMatchObject([{ lastEntry: 1 }]);
    // And a movement does not wait for a sealer that has not committed.
    await client.query('commit');
    await client.query('begin');
    await client.query('select tollgate.seal_ledger(null, null, 1000)');
    expect(await holderOf(database.api, organization).hold('meanwhile', 1)).toMatchObject({ outcome: 'held' });
    await client.query('commit');
  } finally {
    client.release();
  }
  await sealAll();
  expect(await sealsOf(organizationId)).toMatchObject([{ lastEntry: 1 }, { lastEntry: 2 }, { lastEntry: 3 }]);
});

it('a sealer that meets another’s seal of fewer entries leaves the balance to it, and the next one goes on from there', async () => {
  const { organizationId } = organization;
  await sealAll();
  await appendEntries(database.superuser, organizationId, 2);
  const first = await database.superuser.connect();
  try {
    await first.query('begin');
    await first.query('select tollgate.seal_ledger(null, null, 100000)');
    await appendEntries(database.superuser, organizationId, 2_500);
    const second = sealAll();
    await until(async () => {
      const { rows } = await database.superuser.query(
        `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%seal_ledger%'`,
      );
      return rows.length === 1;
    });
    await first.query('commit');
    await second;
  } finally {
    first.release();
  }
  await sealAll();
  expect((await sealsOf(organizationId)).map(({ lastEntry }) => lastEntry)).toEqual([1, 3, 1_003, 2_003, 2_503]);
  expect(await verify(database.auditor)).toEqual([]);
});

it('leaves a ledger with a gap unsealed, says so, and seals the others', async () => {
  const { organizationId } = organization;
  await sealAll();
  await appendEntries(database.superuser, organizationId, 4);
  const other = await createOrganization(database.superuser);
  const client = await database.superuser.connect();
  try {
    await client.query("begin; set local session_replication_role = 'replica'");
    await ledgerAsTable(client);
    await client.query(
      `delete from tollgate.ledger_entries where organization_id = $1 and token_type = 'lead_generation' and entry_number = 3`,
      [organizationId],
    );
    const { rows } = await client.query('select * from tollgate.seal_ledger(null, null, 100000)');
    expect(rows).toMatchObject([{ next_organization: null, gaps: 1, seals: 5 }]);
    const { rows: sealed } = await client.query(
      'select organization_id, count(*) from tollgate.ledger_seals where organization_id = any ($1) group by 1 order by 2',
      [[organizationId, other.organizationId]],
    );
    expect(sealed).toMatchObject([{ count: 5 }, { count: 5 }]);
  } finally {
    await client.query('rollback');
    client.release();
  }
});

it.each([
  'update tollgate.ledger_seals set hash = previous_hash',
  'delete from tollgate.ledger_seals',
  'truncate tollgate.ledger_seals',
])('a seal stays as it is, for a superuser too: %s', async (statement) => {
  await sealAll();
  await expect(database.superuser.query(statement)).rejects.toThrow('tollgate.ledger_seals is append-only');
});
