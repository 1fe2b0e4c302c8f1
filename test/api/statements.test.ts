import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { balanceList, pastBalanceList } from '../../contract/balances.ts';
import { statementList } from '../../contract/statements.ts';
import { beginJob, commitJob, storeResult } from '../../db/jobs.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { admitTestJob } from '../support/jobWorker.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;

beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.auditor);
  await api.close();
  await database.drop();
});

const get = (path: string) => api.call(path, { key: organization.secret });

async function statementsOf(month: string, tokenType = 'lead_generation') {
  const reply = await get(`/api/v1/statements?month=${month}&tokenType=${tokenType}`);
  expect(reply.status, reply.text).toBe(200);
  const { statements, ...rest } = statementList.parse(reply.body);
  return { ...rest, ...statements[0]! };
}

async function balancesOf(at?: string) {
  const reply = await get(at === undefined ? '/api/v1/balances' : `/api/v1/balances?at=${at}`);
  expect(reply.status, reply.text).toBe(200);
  return reply.body;
}

const sql = async (text: string) =>
  (await database.superuser.query(text.replaceAll('ORG', `'${organization.organizationId}'`))).rows;

/** The months from this organization's first entry to now, in its zone. */
async function months(): Promise<string[]> {
  const rows = await sql(`
    select to_char(m, 'YYYY-MM') as month
      from tollgate.billing_cycles c,
           generate_series(date_trunc('month', (select min(e.effective_at) from tollgate.ledger_entries e where e.organization_id = ORG) at time zone c.time_zone),
                           clock_timestamp() at time zone c.time_zone, interval '1 month') m
     where c.organization_id = ORG`);
  return rows.map(({ month }) => month);
}

/** Three months ago began what is told here; in between nobody looked for weeks. */
async function liveThroughMonths() {
  const { organizationId } = organization;
  const holder = holderOf(database.api, organization);
  await holder.hold('open-for-long', 7, { lifetimeMs: 40 * 86_400_000 });
  await addGrant(database.superuser, organizationId, {
    source: 'purchase',
    isPaid: true,
    amount: 30,
    expiresIn: '200 days',
  });
  await addGrant(database.superuser, organizationId, { source: 'promotion', amount: 4, expiresIn: '3 days' });
  await holder.hold('used', 5);
  await holder.capture('used', 3);
  await elapse(database.superuser, organizationId, '35 days');
  await holder.hold('used-2', 60);
  await holder.capture('used-2');
  await sql(
    `update ai_tokens set balance = balance + 9 where organization_id = ORG and token_type = 'lead_generation'`,
  );
  await sql(
    `update ai_tokens set balance = balance - 2 where organization_id = ORG and token_type = 'lead_generation'`,
  );
  const late = await admitTestJob(database.api, organization, { feature: 'generate_leads', input: { prompt: 'x' } });
  await beginJob(database.worker, organizationId, late);
  await storeResult(database.worker, organizationId, late, { text: 'done' }, {});
  await elapse(database.superuser, organizationId, '20 days');
  await sql(`update ai_tokens set balance = 2 where organization_id = ORG and token_type = 'lead_generation'`);
  // Finds two: the rest is a debt, which the next allowance pays.
  await commitJob(database.worker, organizationId, late);
  await elapse(database.superuser, organizationId, '38 days');
}

describe('a monthly statement', () => {
  test('tells what each kind of movement came to, and adds up', async () => {
    const holder = holderOf(database.api, organization);
    const [month] = (await months()) as [string];
    await addGrant(database.superuser, organization.organizationId, { source: 'purchase', isPaid: true, amount: 40 });
    await addGrant(database.superuser, organization.organizationId, { source: 'reward', amount: 6 });
    await holder.hold('used', 8);
    await holder.capture('used', 5);
    await holder.hold('released', 4);
    await holder.release('released');
    await holder.hold('open', 10);
    await sql(
      `update ai_tokens set balance = balance - 3 where organization_id = ORG and token_type = 'lead_generation'`,
    );
    const statement = await statementsOf(month);
    expect(statement).toMatchObject({
      ...{ month, timeZone: 'UTC', isOver: false, tokenType: 'lead_generation' },
      ...{ opening: 0, granted: 56, bought: 40, used: 5, refunded: 0, expired: 0, adjusted: -3, closing: 88 },
      ...{ debtTakenUp: 0, debtPaid: 0, firstEntry: 1, lastEntry: 10 },
    });
    // What is on hold counts: 78 can be spent, 10 are set aside.
    const lead = balanceList.parse(await balancesOf()).balances.find((it) => it.tokenType === 'lead_generation')!;
    expect(statement.closing).toBe(lead.available + lead.held - lead.owed);
  });

  test('adds up over months in which nobody looked, with holds that stay open and a debt: each closing is the next opening', async () => {
    await liveThroughMonths();
    const all = await months();
    expect(all.length).toBeGreaterThan(3);
    let before = 0;
    const total = { granted: 0, bought: 0, used: 0, refunded: 0, expired: 0, adjusted: 0, debtTakenUp: 0, debtPaid: 0 };
    let nextEntry = 1;
    for (const month of all) {
      const s = await statementsOf(month);
      expect(s.opening).toBe(before);
      expect(s.opening + s.granted + s.bought - s.used + s.refunded - s.expired + s.adjusted).toBe(s.closing);
      for (const part of Object.keys(total) as (keyof typeof total)[]) total[part] += s[part];
      if (s.firstEntry !== null) {
        expect(s.firstEntry).toBe(nextEntry);
        nextEntry = s.lastEntry! + 1;
      }
      before = s.closing;
    }
    const [ledger] = await sql(`
      select b.available + b.held - b.owed as worth, b.last_entry,
             (select sum(e.amount)::bigint from tollgate.ledger_entries e left join tollgate.grants g on g.organization_id = ORG and g.id = e.grant_id
               where e.organization_id = ORG and e.token_type = 'lead_generation' and e.kind = 'grant' and g.source = 'purchase') as bought,
             (select sum(e.amount)::bigint from tollgate.ledger_entries e
               where e.organization_id = ORG and e.token_type = 'lead_generation' and e.kind = 'expire') as expired
        from tollgate.balances b where b.organization_id = ORG and b.token_type = 'lead_generation'`);
    expect(ledger).toEqual({ worth: before, last_entry: nextEntry - 1, bought: total.bought, expired: total.expired });
    expect(total).toMatchObject({
      bought: 30,
      used: 3 + 60 + 5,
      debtTakenUp: 3,
      debtPaid: 3,
      adjusted: expect.any(Number),
    });
    expect(total.expired).toBeGreaterThan(0);
  });

  test('of a month that is over reads the same for ever, whatever is done later', async () => {
    await liveThroughMonths();
    const past = (await months()).slice(0, -1);
    const before = await Promise.all(past.map((month) => statementsOf(month)));
    expect(before.every(({ isOver }) => isOver)).toBe(true);
    const holder = holderOf(database.api, organization);
    await holder.hold('h', 3);
    await holder.capture('h');
    await addGrant(database.superuser, organization.organizationId, { amount: 5 });
    expect(await Promise.all(past.map((month) => statementsOf(month)))).toEqual(before);
  });

  test.each([
    ['America/New_York', '2026-03', '2026-03-01T05:00:00.000Z', '2026-04-01T04:00:00.000Z'],
    ['Asia/Tokyo', '2026-01', '2025-12-31T15:00:00.000Z', '2026-01-31T15:00:00.000Z'],
  ])('counts its month in the organization’s zone: %s', async (zone, month, startsAt, endsAt) => {
    await sql(`update tollgate.billing_cycles set time_zone = '${zone}' where organization_id = ORG`);
    expect(await statementsOf(month)).toMatchObject({ timeZone: zone, startsAt, endsAt });
  });

  test('an entry at the very boundary belongs to the month that begins', async () => {
    // How far the first entry lies from the beginning of its month: so much later than it is, it began at that instant.
    const [{ month, distance }] = await sql(`
      select to_char(first.at at time zone 'UTC', 'YYYY-MM') as month,
             (extract(epoch from first.at - date_trunc('month', first.at at time zone 'UTC') at time zone 'UTC') * 1000000)::bigint as distance
        from (select min(e.effective_at) as at from tollgate.ledger_entries e where e.organization_id = ORG and e.token_type = 'forecast') first`);
    await elapse(database.superuser, organization.organizationId, `${distance} microseconds`);
    expect(await statementsOf(month, 'forecast')).toMatchObject({
      opening: 0,
      granted: 30,
      closing: 30,
      firstEntry: 1,
    });
    await elapse(database.superuser, organization.organizationId, '1 microsecond');
    expect(await statementsOf(month, 'forecast')).toMatchObject({
      opening: 30,
      granted: 0,
      closing: 30,
      firstEntry: null,
    });
  });

  test('before the first entry is all zeros, and without a token type there is one for each', async () => {
    const { body } = await get('/api/v1/statements?month=2001-01');
    const { statements } = statementList.parse(body);
    expect(statements).toHaveLength(5);
    for (const { opening, closing, granted, firstEntry } of statements) {
      expect({ opening, closing, granted, firstEntry }).toEqual({
        opening: 0,
        closing: 0,
        granted: 0,
        firstEntry: null,
      });
    }
  });
});

describe('balances', () => {
  test('show what can be spent and the grants it is made of, in the order in which they are used up', async () => {
    const { organizationId } = organization;
    await addGrant(database.superuser, organizationId, { source: 'purchase', isPaid: true, amount: 40 });
    await addGrant(database.superuser, organizationId, {
      source: 'reward',
      amount: 6,
      priority: 10,
      expiresIn: '5 days',
    });
    const holder = holderOf(database.api, organization);
    await holder.hold('used', 5);
    await holder.capture('used', 4);
    await holder.hold('open', 3);
    const { balances } = balanceList.parse(await balancesOf());
    expect(balances.map(({ tokenType }) => tokenType)).toEqual([
      'forecast',
      'general',
      'goal_generation',
      'lead_generation',
      'strategy_analysis',
    ]);
    const lead = balances[3]!;
    expect(lead).toMatchObject({ available: 89, held: 3, owed: 0, allocated: 50, used: 4 });
    expect(lead.grants).toMatchObject([
      { source: 'allowance', priority: 100, remaining: 49, amount: 50, isPaid: false },
      { source: 'purchase', priority: 100, remaining: 40, amount: 40, isPaid: true, expiresAt: null },
    ]);
    expect(lead.grants.reduce((sum, { remaining }) => sum + remaining, 0)).toBe(lead.available);
    expect(Date.parse(lead.refreshDate)).toBeGreaterThan(Date.now());
  });

  test('are exact by time: what fell due since takes effect in the call that looks', async () => {
    await holderOf(database.api, organization).hold('lapses', 3);
    await addGrant(database.superuser, organization.organizationId, { amount: 5, expiresIn: '2 days' });
    await elapse(database.superuser, organization.organizationId, '33 days');
    const { balances } = balanceList.parse(await balancesOf());
    const lead = balances.find((it) => it.tokenType === 'lead_generation')!;
    expect(lead).toMatchObject({ available: 50, held: 0, used: 0 });
    expect(lead.grants).toMatchObject([{ source: 'allowance', remaining: 50 }]);
  });
});

describe('the balance at any past moment', () => {
  test('is what each entry left, from its own instant on until the next; zeros before the first', async () => {
    await liveThroughMonths();
    await balancesOf();
    const entries = await sql(`
      select distinct on (e.effective_at) to_char(e.effective_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
             to_char((e.effective_at - interval '1 microsecond') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as just_before,
             e.available_after as available, e.held_after as held, e.owed_after as owed
        from tollgate.ledger_entries e where e.organization_id = ORG and e.token_type = 'lead_generation'
       order by e.effective_at, e.entry_number desc`);
    expect(entries.length).toBeGreaterThan(10);
    let previous = { available: 0, held: 0, owed: 0 };
    for (const { at, just_before, ...after } of entries) {
      for (const [instant, expected] of [
        [just_before, previous],
        [at, after],
      ]) {
        const past = pastBalanceList.parse(await balancesOf(instant));
        expect(past.at).toBe(instant);
        expect(past.balances.find((it) => it.tokenType === 'lead_generation')).toEqual({
          tokenType: 'lead_generation',
          ...expected,
        });
      }
      previous = after;
    }
  });

  test('says the same before what fell due is booked as after it, at every instant at which something did', async () => {
    await liveThroughMonths();
    // Nobody has looked since the last step of it: a debt is open, and 38 days are not booked.
    const client = await database.superuser.connect();
    try {
      const ask = async (at: string) => {
        await client.query("select set_config('tollgate.organizations', $1, false)", [organization.organizationId]);
        return (
          await client.query(`select * from tollgate.balance_as_of($1, 'lead_generation', $2)`, [
            organization.organizationId,
            at,
          ])
        ).rows[0];
      };
      const { rows } = await client.query(
        `select to_char(b.refresh_date + n * interval '1 hour', 'YYYY-MM-DD"T"HH24:MI:SS.USOF') as at
           from tollgate.balances b, generate_series(-480, 900, 12) n
          where b.organization_id = $1 and b.token_type = 'lead_generation' and b.refresh_date + n * interval '1 hour' < clock_timestamp()`,
        [organization.organizationId],
      );
      expect(rows.length).toBeGreaterThan(50);
      const booked = await client.query(
        'select last_entry from tollgate.balances where organization_id = $1 and token_type = $2',
        [organization.organizationId, 'lead_generation'],
      );
      const before = [];
      for (const { at } of rows) before.push(await ask(at));
      expect(before.some(({ owed }) => owed > 0) && before.some(({ owed }) => owed === 0)).toBe(true);
      await balancesOf();
      const after = [];
      for (const { at } of rows) after.push(await ask(at));
      expect(after).toEqual(before);
      const now = await client.query(
        'select last_entry from tollgate.balances where organization_id = $1 and token_type = $2',
        [organization.organizationId, 'lead_generation'],
      );
      expect(now.rows[0].last_entry).toBeGreaterThan(booked.rows[0].last_entry);
    } finally {
      client.release(true);
    }
  });

  test('shows nothing of a tenant that was not named', async () => {
    const { rows } = await database.api.query(
      `select * from tollgate.balance_as_of($1, 'lead_generation', clock_timestamp())`,
      [organization.organizationId],
    );
    expect(rows).toEqual([{ available: 0, held: 0, owed: 0 }]);
    const { rows: ranges } = await database.api.query(
      `select * from tollgate.statement_range($1, 'lead_generation', '2026-01-01')`,
      [organization.organizationId],
    );
    expect(ranges).toEqual([]);
  });
});
