import type { Pool, PoolClient } from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { holdTokens } from '../../db/holds.ts';
import { PLANS, TOKEN_LIMITS, TOKEN_TYPES } from '../../domain/catalog.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { grantsOf } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization } from '../support/organization.ts';

let database: TestDatabase;
let sql: Pool;
beforeAll(async () => {
  database = await freshDatabase();
  sql = database.superuser;
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

const LEADS = `organization_id = $1 and token_type = 'lead_generation'`;
const newOrganization = async (plan: 'pro' | 'starter' = 'pro') => (await createOrganization(sql, plan)).organizationId;
const balance = async (organizationId: string) => (await balanceOf(sql, organizationId, 'lead_generation')).available;

/** The last adjustments of the ledger: amount with its direction, and who. */
async function adjustments(organizationId: string) {
  const { rows } = await sql.query(
    `select case e.to_account when 'available' then e.amount else - e.amount end as amount, e.actor
       from tollgate.ledger_entries e
      where e.organization_id = $1 and e.kind = 'adjustment' order by e.token_type, e.entry_number`,
    [organizationId],
  );
  return rows as { amount: number; actor: string }[];
}

async function asRole<T>(role: string, work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await sql.connect();
  try {
    await client.query(`begin; set local role ${role}`);
    const result = await work(client);
    await client.query('commit');
    return result;
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

describe('an organization', () => {
  it.each(PLANS)('on plan %s has its allowances in the statement that inserts it', async (plan) => {
    const { organizationId } = await createOrganization(sql, plan);
    const { rows } = await sql.query(
      'select token_type, balance, total_allocated from ai_tokens where organization_id = $1 order by token_type',
      [organizationId],
    );
    expect(rows).toEqual(
      TOKEN_TYPES.toSorted().map((token_type) => ({
        token_type,
        balance: TOKEN_LIMITS[plan][token_type],
        total_allocated: TOKEN_LIMITS[plan][token_type],
      })),
    );
  });

  it('refreshes one month after it was inserted', async () => {
    const { rows } = await sql.query(
      `with inserted as (insert into organizations (id, name, plan) values ('month', 'Month', 'pro') returning id)
       select id from inserted`,
    );
    expect(rows).toEqual([{ id: 'month' }]);
    const dates = await sql.query(
      `select distinct v.refresh_date = c.anchor + interval '1 month' as right_on
         from ai_tokens v join tollgate.billing_cycles c using (organization_id) where organization_id = 'month'`,
    );
    expect(dates.rows).toEqual([{ right_on: true }]);
  });

  it('with an unknown plan or a bad id is refused, and leaves nothing', async () => {
    await expect(
      sql.query(`insert into organizations (id, name, plan) values ('gold', 'Gold', 'gold')`),
    ).rejects.toThrow(/unknown plan "gold"; the catalogue has/);
    await expect(sql.query(`insert into organizations (id, name) values ('a,b', 'Two')`)).rejects.toThrow(
      /organizations_id_is_an_id/,
    );
    const { rows } = await sql.query(`select count(*) from tollgate.balances where organization_id in ('gold', 'a,b')`);
    expect(rows).toEqual([{ count: 0 }]);
  });

  it('that was there before Tollgate can be edited: its balances and its calendar come at first use', async () => {
    const client = await sql.connect();
    await client.query(
      `set session_replication_role = 'replica'; insert into organizations (id, name, plan) values ('veteran', 'Veteran', 'pro')`,
    );
    await client.query('reset session_replication_role');
    client.release();
    const { rows } = await sql.query(
      `insert into ai_tokens (organization_id, token_type, balance) values ('veteran', 'lead_generation', 70) returning balance, total_allocated`,
    );
    expect(rows).toEqual([{ balance: 70, total_allocated: 50 }]);
    await sql.query(`update organizations set plan = 'enterprise' where id = 'veteran'`);
    expect(await balance('veteran')).toBe(520);
  });

  it('changes its plan in the statement that says so: allowance, gate and outbox', async () => {
    const { organizationId, ...organization } = await createOrganization(sql, 'starter');
    const holder = holderOf(database.api, { organizationId, ...organization });
    expect(await holder.hold('early', 1)).toMatchObject({ outcome: 'feature_not_available' });
    await asRole('service_role', (client) =>
      client.query(`update organizations set plan = 'pro' where id = $1`, [organizationId]),
    );
    expect(await holder.hold('now', 50)).toMatchObject({ outcome: 'held' });
    const { rows } = await sql.query(
      `select o.content from tollgate.outbox o where o.organization_id = $1 and o.kind = 'plan_changed'`,
      [organizationId],
    );
    expect(rows).toEqual([{ content: { from: 'starter', to: 'pro' } }]);
  });
});

describe('an insert', () => {
  it('for an existing pair sets the balance, up or down', async () => {
    const organizationId = await newOrganization();
    for (const wanted of [80, 30, 0, 50]) {
      const { rows } = await sql.query(
        `insert into ai_tokens (organization_id, token_type, balance) values ($1, 'lead_generation', $2) returning balance`,
        [organizationId, wanted],
      );
      expect(rows).toEqual([{ balance: wanted }]);
      expect(await balance(organizationId)).toBe(wanted);
    }
    expect((await adjustments(organizationId)).map(({ amount }) => amount)).toEqual([30, -50, -30, 50]);
  });

  it('for a pair that is not there yet makes it', async () => {
    const organizationId = await newOrganization();
    const client = await sql.connect();
    await client.query("begin; set local session_replication_role = 'replica'");
    for (const table of ['adjustments', 'grants', 'ledger_blocks', 'balances']) {
      await client.query(`delete from tollgate.${table} where ${LEADS}`, [organizationId]);
    }
    await client.query('commit');
    client.release();
    const { rows } = await sql.query(
      `insert into ai_tokens (organization_id, token_type, balance) values ($1, 'lead_generation', 12) returning token_type, balance, total_allocated`,
      [organizationId],
    );
    expect(rows).toEqual([{ token_type: 'lead_generation', balance: 12, total_allocated: 50 }]);
  });

  it('takes all columns, and several rows', async () => {
    const organizationId = await newOrganization();
    const { rows } = await sql.query(
      `insert into ai_tokens (organization_id, token_type, balance, total_allocated, refresh_date)
       values ($1, 'lead_generation', 5, 60, now() + interval '3 days'), ($1, 'forecast', 6, 70, now() + interval '3 days')
       returning balance, total_allocated, refresh_date > now() + interval '2 days' and refresh_date < now() + interval '4 days' as moved`,
      [organizationId],
    );
    expect(rows).toEqual([
      { balance: 5, total_allocated: 60, moved: true },
      { balance: 6, total_allocated: 70, moved: true },
    ]);
  });
});

describe('an update', () => {
  it('of balance + 10 by two sessions at once adds 20', async () => {
    const organizationId = await newOrganization();
    const [one, other] = [await sql.connect(), await sql.connect()];
    const add = `update ai_tokens set balance = balance + 10 where ${LEADS} returning balance`;
    await one.query('begin');
    await one.query(add, [organizationId]);
    // Has read 50 and now waits for the first one.
    const waiting = other.query(add, [organizationId]);
    await someoneWaits();
    await one.query('commit');
    expect((await waiting).rows).toEqual([{ balance: 70 }]);
    one.release();
    other.release();
    expect(await balance(organizationId)).toBe(70);
  });

  it('of the balance alone does not write back what it saw of the plan', async () => {
    const organizationId = await newOrganization();
    const [one, other] = [await sql.connect(), await sql.connect()];
    await one.query('begin');
    await one.query(`update organizations set plan = 'enterprise' where id = $1`, [organizationId]);
    const waiting = other.query(
      `update ai_tokens set balance = balance + 10 where ${LEADS} returning balance, total_allocated`,
      [organizationId],
    );
    await someoneWaits();
    await one.query('commit');
    expect((await waiting).rows).toEqual([{ balance: 510, total_allocated: 500 }]);
    one.release();
    other.release();
  });

  it('says what the balance is then, in RETURNING', async () => {
    const organizationId = await newOrganization();
    const { rows } = await sql.query(`update ai_tokens set balance = 20 where ${LEADS} returning *`, [organizationId]);
    const view = await sql.query(`select * from ai_tokens where ${LEADS}`, [organizationId]);
    expect(rows).toEqual(view.rows);
    expect(rows).toMatchObject([{ balance: 20, total_allocated: 50 }]);
  });

  it('leaves tokens on hold alone: a balance counts what can be spent', async () => {
    const { organizationId, ...rest } = await createOrganization(sql, 'pro');
    const holder = holderOf(database.api, { organizationId, ...rest });
    await holder.hold('h', 20);
    await sql.query(`update ai_tokens set balance = 0 where ${LEADS}`, [organizationId]);
    expect(await balanceOf(sql, organizationId, 'lead_generation')).toEqual({ available: 0, held: 20, owed: 0 });
    await expect(sql.query(`update ai_tokens set balance = -1 where ${LEADS}`, [organizationId])).rejects.toThrow(
      /cannot become -1/,
    );
    await holder.release('h');
    expect(await balance(organizationId)).toBe(20);
  });

  it('raises by a grant that does not end with the period', async () => {
    const organizationId = await newOrganization();
    await sql.query(`update ai_tokens set balance = balance + 7 where ${LEADS}`, [organizationId]);
    await elapse(sql, organizationId, '31 days');
    const { rows } = await sql.query(`select balance from ai_tokens where ${LEADS}`, [organizationId]);
    expect(rows).toEqual([{ balance: 57 }]);
  });

  it('of many rows books each', async () => {
    const organizationId = await newOrganization();
    await sql.query('update ai_tokens set balance = balance + 1 where organization_id = $1', [organizationId]);
    expect((await adjustments(organizationId)).map(({ amount }) => amount)).toEqual([1, 1, 1, 1, 1]);
  });

  it('that changes nothing books nothing', async () => {
    const organizationId = await newOrganization();
    await sql.query(`update ai_tokens set balance = 50, total_allocated = 50 where ${LEADS}`, [organizationId]);
    expect(await adjustments(organizationId)).toEqual([]);
  });

  it('after a boundary that nobody saw works on the balance of now', async () => {
    const organizationId = await newOrganization();
    await sql.query(`update ai_tokens set balance = 3 where ${LEADS}`, [organizationId]);
    await elapse(sql, organizationId, '31 days');
    const { rows } = await sql.query(`update ai_tokens set balance = balance + 10 where ${LEADS} returning balance`, [
      organizationId,
    ]);
    expect(rows).toEqual([{ balance: 60 }]);
  });

  it.each([
    ['service_role', 'sql:service_role'],
    ['none', 'sql:postgres'],
  ])('by %s is recorded with its actor, %s', async (role, actor) => {
    const organizationId = await newOrganization();
    await asRole(role, (client) => client.query(`update ai_tokens set balance = 51 where ${LEADS}`, [organizationId]));
    expect(await adjustments(organizationId)).toEqual([{ amount: 1, actor }]);
  });

  it('does not open a plan that has no such feature', async () => {
    const { organizationId, ...rest } = await createOrganization(sql, 'starter');
    await sql.query(`update ai_tokens set balance = 100 where ${LEADS}`, [organizationId]);
    expect(await holderOf(database.api, { organizationId, ...rest }).hold('h', 5)).toMatchObject({
      outcome: 'feature_not_available',
      available: 100,
    });
  });
});

describe('a refresh date', () => {
  it('that is set moves the next boundary once, and the allowance with it', async () => {
    const organizationId = await newOrganization();
    await sql.query(`update ai_tokens set refresh_date = now() + interval '2 days' where ${LEADS}`, [organizationId]);
    await elapse(sql, organizationId, '2 days');
    // The boundary after it is the calendar's again.
    const { rows } = await sql.query(
      `select v.balance, v.refresh_date = tollgate.next_boundary(c.anchor, c.time_zone, now()) as is_calendars
         from ai_tokens v join tollgate.billing_cycles c using (organization_id) where ${LEADS}`,
      [organizationId],
    );
    expect(rows).toEqual([{ balance: 50, is_calendars: true }]);
  });

  it('that is set moves the end of an upgrade too', async () => {
    const organizationId = await newOrganization();
    await sql.query(`update organizations set plan = 'enterprise' where id = $1`, [organizationId]);
    await sql.query(`update ai_tokens set refresh_date = now() + interval '2 days' where ${LEADS}`, [organizationId]);
    await elapse(sql, organizationId, '2 days');
    const { rows } = await sql.query(`select balance from ai_tokens where ${LEADS}`, [organizationId]);
    expect(rows).toEqual([{ balance: 500 }]);
  });

  it('that has passed ends the period at once, in the statement that sets it', async () => {
    const { organizationId, ...rest } = await createOrganization(sql, 'pro');
    const holder = holderOf(database.api, { organizationId, ...rest });
    await holder.hold('h', 20);
    await holder.capture('h');
    await elapse(sql, organizationId, '3 days');
    const { rows } = await sql.query(
      `update ai_tokens set refresh_date = now() - interval '1 day' where ${LEADS} returning balance, refresh_date > now() as is_ahead`,
      [organizationId],
    );
    expect(rows).toEqual([{ balance: 50, is_ahead: true }]);
    expect(await grantsOf(sql, organizationId)).toMatchObject([
      { remaining: 0, expired: 30 },
      { remaining: 50, expired: 0 },
    ]);
  });

  it('before the period’s start is refused', async () => {
    const organizationId = await newOrganization();
    await expect(
      sql.query(`update ai_tokens set refresh_date = now() - interval '1 day' where ${LEADS}`, [organizationId]),
    ).rejects.toThrow(/refresh_date must lie after the period's start/);
  });
});

describe('found by attack', () => {
  it('a balance and a passed refresh date in one statement set the balance, not that on top of the new allowance', async () => {
    const { organizationId, ...rest } = await createOrganization(sql, 'pro');
    const holder = holderOf(database.api, { organizationId, ...rest });
    await holder.hold('h', 30);
    await holder.capture('h');
    const { rows } = await sql.query(
      `update ai_tokens set balance = total_allocated, refresh_date = clock_timestamp() where ${LEADS} returning balance`,
      [organizationId],
    );
    expect(rows).toEqual([{ balance: 50 }]);
  });

  it.each(['infinity', '2200-01-01'])('a refresh date beyond ten years is refused: %s', async (date) => {
    const organizationId = await newOrganization();
    await expect(
      sql.query(`update ai_tokens set refresh_date = '${date}' where ${LEADS}`, [organizationId]),
    ).rejects.toThrow('refresh_date must lie within the next ten years');
  });

  it('edits of all types, holds on all types and plan changes at once never deadlock', async () => {
    const { organizationId, ...rest } = await createOrganization(sql, 'pro');
    for (let n = 0; n < 40; n++) await newOrganization('starter');
    const holder = holderOf(database.api, { organizationId, ...rest });
    const features = [
      'generate_insight',
      'forecast_revenue',
      'generate_leads',
      'analyze_strategy',
      'generate_goal',
    ] as const;
    const ends = await Promise.allSettled(
      Array.from({ length: 36 }, (_, n) => {
        switch (n % 3) {
          case 0:
            return sql.query('update ai_tokens set balance = balance + 1 where organization_id = $1', [organizationId]);
          case 1:
            return sql.query('update organizations set plan = $2 where id = $1', [
              organizationId,
              n % 2 ? 'pro' : 'enterprise',
            ]);
          default:
            return holdTokens(
              database.api,
              features.map((feature) => holder.request(`${feature}-${n}`, 1, { feature })),
            );
        }
      }),
    );
    expect(ends.flatMap((end) => (end.status === 'rejected' ? [String(end.reason)] : []))).toEqual([]);
  });

  it('a catalogue that changes does not rewrite periods that had begun before it, looked at or not', async () => {
    const [seen, unseen] = [await newOrganization(), await newOrganization()];
    for (const organizationId of [seen, unseen]) await elapse(sql, organizationId, '32 days');
    await sql.query('update ai_tokens set balance = balance where organization_id = $1', [seen]);
    const view = async () =>
      (
        await sql.query(
          `select balance from ai_tokens where organization_id = any ($1) and token_type = 'lead_generation'`,
          [[seen, unseen]],
        )
      ).rows;
    expect(await view()).toEqual([{ balance: 50 }, { balance: 50 }]);
    const client = await sql.connect();
    try {
      await client.query('begin');
      const { rows } = await client.query(
        `insert into tollgate.catalogue_versions (digest) values ('smaller') returning version`,
      );
      await client.query(
        `insert into tollgate.catalogue_allowances select $1, a.plan, a.token_type, 1 from tollgate.catalogue_allowances a where a.version = 1`,
        [rows[0].version],
      );
      const after = await client.query(
        `select balance from ai_tokens where organization_id = any ($1) and token_type = 'lead_generation'`,
        [[seen, unseen]],
      );
      expect(after.rows).toEqual([{ balance: 50 }, { balance: 50 }]);
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});

describe('what is refused says what to do instead', () => {
  const refusals: [what: string, statement: string, message: RegExp][] = [
    [
      'a negative balance',
      `update ai_tokens set balance = -1 where ${LEADS}`,
      /balance of lead_generation cannot become -1; it is 50 now/,
    ],
    [
      'lowering by more than there is',
      `update ai_tokens set balance = balance - 51 where ${LEADS}`,
      /cannot become -1/,
    ],
    [
      'more than a number can hold',
      `update ai_tokens set balance = 1000000000000001 where ${LEADS}`,
      /the largest is 1000000000000000/,
    ],
    [
      'a sum that overflows',
      `update ai_tokens set balance = 9223372036854775807 where ${LEADS}`,
      /the largest is 1000000000000000/,
    ],
    [
      'a negative total',
      `update ai_tokens set total_allocated = -1 where ${LEADS}`,
      /total_allocated must lie between 0 and/,
    ],
    [
      'a deletion',
      `delete from ai_tokens where ${LEADS}`,
      /a balance cannot be deleted; set it to 0 .* or change the organization's plan/,
    ],
    [
      'another token type',
      `update ai_tokens set token_type = 'forecast' where ${LEADS}`,
      /a balance stays with its organization and token type/,
    ],
    [
      'another organization',
      `update ai_tokens set organization_id = 'x' where ${LEADS}`,
      /a balance stays with its organization/,
    ],
    [
      'an unknown token type',
      `insert into ai_tokens values ($1, 'dreams', 1)`,
      /unknown token type "dreams"; the catalogue has: .*forecast/,
    ],
    [
      'an unknown organization',
      `insert into ai_tokens values ($1 || '-not', 'forecast', 1)`,
      /unknown organization .* insert it into organizations first/,
    ],
  ];
  it.each(refusals)('S4: %s', async (_, statement, message) => {
    const organizationId = await newOrganization();
    await expect(sql.query(statement, [organizationId])).rejects.toThrow(message);
    expect(await balance(organizationId)).toBe(50);
    expect(await adjustments(organizationId)).toEqual([]);
  });

  it('the usage log and the ledger are append-only, for everybody', async () => {
    const { organizationId, ...rest } = await createOrganization(sql, 'pro');
    const holder = holderOf(database.api, { organizationId, ...rest });
    await holder.hold('h', 5);
    await holder.capture('h');
    for (const table of ['ai_token_usage_log', 'tollgate.ledger_blocks', 'tollgate.adjustments']) {
      for (const change of [`update ${table} set organization_id = 'x'`, `delete from ${table}`, `truncate ${table}`]) {
        await expect(sql.query(change), change).rejects.toThrow(/is append-only; book a correction instead/);
      }
    }
    await expect(
      sql.query(`update tollgate.holds set state = 'released', captured = 0 where organization_id = $1`, [
        organizationId,
      ]),
    ).rejects.toThrow(/hold h has ended as captured; a hold ends once/);
  });
});

/** Waits until a session of this database waits for a lock. */
async function someoneWaits(): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (Date.now() < deadline) {
    const { rows } = await sql.query(
      `select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    if (rows[0].count > 0) return;
  }
  throw new Error('No session waits for a lock.');
}
