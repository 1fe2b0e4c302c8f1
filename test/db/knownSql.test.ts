import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { PoolClient } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { deductTokens } from '../../db/tokens.ts';
import { runChecks } from '../../db/verify.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { until } from '../support/until.ts';

// The statements that users of the "AI token system" know, as they are documented (docs/guides/AI_TOKEN_SYSTEM_GUIDE.md):
// run as written, by those who run them, on every kind of organization, twice in a row.

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

type Kind = 'new' | 'provisioned' | 'starter';
/** new: a row that was there before Tollgate, with no balances yet. */
const KINDS: readonly Kind[] = ['new', 'provisioned', 'starter'];
const ROLES = ['superuser', 'service_role'] as const;

/** A client that acts as the role, on an organization 'org-id' of the kind that it alone sees: checked, then rolled back. */
async function on<T>(kind: Kind, role: (typeof ROLES)[number], work: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await database.superuser.connect();
  try {
    await client.query('begin');
    if (kind === 'new') await client.query("set local session_replication_role = 'replica'");
    await client.query(`insert into organizations (id, name, plan) values ('org-id', 'Org', $1)`, [
      kind === 'starter' ? 'starter' : 'pro',
    ]);
    await client.query("set local session_replication_role = 'origin'");
    await client.query(`insert into user_profiles (id, organization_id, role) values ('user-id', 'org-id', 'member')`);
    if (role === 'service_role') await client.query('set local role service_role');
    const result = await work(client);
    await client.query('reset role');
    expect(await runChecks(client)).toEqual([]);
    return result;
  } finally {
    await client.query('rollback');
    client.release();
  }
}

async function goalBalance(client: PoolClient): Promise<number | undefined> {
  const { rows } = await client.query(
    `select balance from ai_tokens where organization_id = 'org-id' and token_type = 'goal_generation'`,
  );
  return rows[0]?.balance;
}

/** Whether the plan lets `generate_goal` through, as the API would be told. */
async function isBlocked(client: PoolClient): Promise<boolean> {
  const { rows: who } = await client.query('select current_user as name');
  await client.query('reset role');
  await client.query(`insert into tollgate.api_keys (id, organization_id, name, key_hash, scopes)
    values ('key', 'org-id', 'k', sha256('k'), '{tokens:read}') on conflict do nothing`);
  const { rows } = await client.query(
    `select outcome from tollgate.check_tokens('{org-id}', '{key:key}', '{generate_goal}')`,
  );
  if (who[0].name === 'service_role') await client.query('set local role service_role');
  return rows[0].outcome === 'feature_not_available';
}

const BLOCK = `update organizations set plan = 'starter' where id = 'org-id';`;
const ALLOW = `update organizations set plan = 'pro' where id = 'org-id';`;
const PROVISION = `insert into ai_tokens (organization_id, token_type, balance, total_allocated, refresh_date)
  values ('org-id', 'goal_generation', 20, 20, now() + interval '30 days');`;
const ADD = `update ai_tokens set balance = balance + 10 where organization_id = 'org-id' and token_type = 'goal_generation';`;
const BALANCES = `select token_type, balance from ai_tokens where organization_id = 'org-id';`;
const USAGE = 'select * from ai_token_usage_log order by created_at desc;';
const BY_FEATURE = 'select feature_used, count(*), sum(tokens_deducted) from ai_token_usage_log group by feature_used;';
const TODAY = `select organization_id, feature_used, count(*), sum(tokens_deducted) from ai_token_usage_log
  where created_at >= current_date group by organization_id, feature_used;`;
const POLICIES = `select * from pg_policies where tablename = 'ai_token_usage_log';`;
const PROFILE = `select * from user_profiles where id = 'user-id';`;

describe.each(ROLES)('by %s', (role) => {
  describe.each(KINDS)('on a %s organization', (kind) => {
    const twice = async (client: PoolClient, statement: string) => {
      const first = await client.query(statement);
      const second = await client.query(statement);
      expect(second.rowCount).toBe(first.rowCount);
      return second;
    };

    it('update organizations set plan blocks, and allows, at once', async () => {
      await on(kind, role, async (client) => {
        expect((await twice(client, BLOCK)).rowCount).toBe(1);
        expect(await isBlocked(client)).toBe(true);
        expect((await twice(client, ALLOW)).rowCount).toBe(1);
        expect(await isBlocked(client)).toBe(false);
        expect(await goalBalance(client)).toBe(20);
        // To and fro mints nothing.
        await client.query(`${BLOCK} ${ALLOW}`);
        expect(await goalBalance(client)).toBe(20);
      });
    });

    it('insert into ai_tokens sets balance, total and refresh date', async () => {
      await on(kind, role, async (client) => {
        expect((await twice(client, PROVISION)).rowCount).toBe(1);
        const { rows } = await client.query(
          `select balance, total_allocated, refresh_date between now() + interval '29 days' and now() + interval '31 days' as in_a_month
             from ai_tokens where organization_id = 'org-id' and token_type = 'goal_generation'`,
        );
        expect(rows).toEqual([{ balance: 20, total_allocated: 20, in_a_month: true }]);
        expect(await isBlocked(client)).toBe(kind === 'starter');
      });
    });

    it('update ai_tokens set balance = balance + 10 adds 10 each time, booked with who did it', async () => {
      await on(kind, role, async (client) => {
        await client.query(PROVISION);
        await client.query('reset role');
        const { rows: before } =
          await client.query(`select coalesce(max(entry_number), 0) as last from tollgate.ledger_entries
          where organization_id = 'org-id' and token_type = 'goal_generation'`);
        if (role === 'service_role') await client.query('set local role service_role');
        expect((await twice(client, ADD)).rowCount).toBe(1);
        expect(await goalBalance(client)).toBe(40);
        await client.query('reset role');
        const { rows } = await client.query(
          `select kind, amount, actor from tollgate.ledger_entries
            where organization_id = 'org-id' and token_type = 'goal_generation' and entry_number > $1`,
          [before[0].last],
        );
        const booked = {
          kind: 'adjustment',
          amount: 10,
          actor: role === 'superuser' ? 'sql:postgres' : 'sql:service_role',
        };
        expect(rows).toEqual([booked, booked]);
      });
    });

    it('select token_type, balance shows every token type that was given', async () => {
      await on(kind, role, async (client) => {
        // A new one has nothing until it is used, or edited as here.
        if (kind === 'new') await client.query(PROVISION);
        const { rows } = await twice(client, BALANCES);
        expect(rows.find(({ token_type }) => token_type === 'goal_generation')).toEqual({
          token_type: 'goal_generation',
          balance: kind === 'starter' ? 0 : 20,
        });
        expect(rows).toHaveLength(5);
      });
    });

    it('the usage log, its sums and those of today show each deduction', async () => {
      await on(kind, role, async (client) => {
        await client.query('reset role');
        await client.query(ALLOW);
        for (const feature of ['generate_goal', 'generate_goal', 'generate_leads']) {
          const { outcome } = await deductTokens({ query: client.query.bind(client) } as never, {
            organizationId: 'org-id',
            principal: 'user:user-id',
            holdId: randomUUID(),
            feature,
            metadata: { page: 'quests' },
            idempotency: null,
          });
          expect(outcome).toBe('deducted');
        }
        if (role === 'service_role') await client.query('set local role service_role');
        const { rows: log } = await twice(client, USAGE);
        expect(
          log.map(({ feature_used, tokens_deducted, user_id }) => [feature_used, tokens_deducted, user_id]),
        ).toEqual([
          ['generate_leads', 5, 'user-id'],
          ['generate_goal', 3, 'user-id'],
          ['generate_goal', 3, 'user-id'],
        ]);
        expect(log[0].metadata).toMatchObject({ page: 'quests' });
        const sums = (rows: { feature_used: string }[]) =>
          rows.toSorted((a, b) => (a.feature_used < b.feature_used ? -1 : 1));
        expect(sums((await twice(client, BY_FEATURE)).rows)).toMatchObject([
          { feature_used: 'generate_goal', count: 2, sum: '6' },
          { feature_used: 'generate_leads', count: 1, sum: '5' },
        ]);
        expect(sums((await twice(client, TODAY)).rows)).toMatchObject([
          { organization_id: 'org-id', feature_used: 'generate_goal', count: 2, sum: '6' },
          { organization_id: 'org-id', feature_used: 'generate_leads', count: 1, sum: '5' },
        ]);
      });
    });

    it('pg_policies shows an INSERT policy for the system, and user_profiles the membership', async () => {
      await on(kind, role, async (client) => {
        const { rows } = await twice(client, POLICIES);
        expect(rows.find(({ cmd }) => cmd === 'INSERT')).toMatchObject({ policyname: 'System can insert usage' });
        expect((await twice(client, PROFILE)).rows).toMatchObject([{ organization_id: 'org-id', role: 'member' }]);
      });
    });

    const CLOSED =
      role === 'superuser'
        ? /ai_token_usage_log is append-only; book a correction instead/
        : /permission denied for table ai_token_usage_log/;
    it.each<readonly [string, RegExp]>([
      [`update ai_tokens set balance = -1 where organization_id = 'org-id'`, /cannot become -1; it is/],
      [`insert into ai_tokens values ('org-id', 'dreams', 1)`, /unknown token type "dreams"; the catalogue has: /],
      [
        `insert into ai_tokens values ('nobody', 'forecast', 1)`,
        /unknown organization "nobody"; insert it into organizations first/,
      ],
      [`update organizations set plan = 'gold' where id = 'org-id'`, /unknown plan "gold"; the catalogue has: /],
      [`delete from ai_tokens where organization_id = 'org-id'`, /a balance cannot be deleted; set it to 0/],
      // PostgreSQL's own sentence: on a view it asks neither triggers nor rights.
      ['truncate ai_tokens', /"ai_tokens" is not a table/],
      // Two barriers here, rights and a trigger: who has the rights is told by the trigger.
      ...['delete from ai_token_usage_log', 'truncate ai_token_usage_log'].map(
        (statement) => [statement, CLOSED] as const,
      ),
      ['update ai_token_usage_log set tokens_deducted = 0', CLOSED],
    ])('S4 refused with what to do: %s', async (statement, message) => {
      await on(kind, role, async (client) => {
        await client.query(PROVISION);
        await client.query('savepoint before');
        await expect(client.query(statement)).rejects.toThrow(message);
        await client.query('rollback to savepoint before');
        expect(await goalBalance(client)).toBe(20);
      });
    });
  });
});

describe.each(ROLES)('by two sessions of %s at once', (role) => {
  it('update ai_tokens set balance = balance + 10 adds 20, and RETURNING tells each what it is then', async () => {
    const { superuser } = database;
    await superuser.query(`insert into organizations (id, name, plan) values ('org-id', 'Org', 'pro')`);
    const sessions = [await superuser.connect(), await superuser.connect()] as const;
    try {
      for (const session of sessions) {
        await session.query(`begin; set local role ${role === 'superuser' ? 'none' : role}`);
        // Both have seen 20 before either writes.
        expect(await goalBalance(session)).toBe(20);
      }
      const returning = ADD.replace(';', ' returning balance;');
      expect((await sessions[0].query(returning)).rows).toEqual([{ balance: 30 }]);
      const waiting = sessions[1].query(returning);
      await until(async () => {
        const { rows } = await superuser.query(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        );
        return rows.length > 0;
      });
      await sessions[0].query('commit');
      expect((await waiting).rows).toEqual([{ balance: 40 }]);
      await sessions[1].query('commit');
    } finally {
      for (const session of sessions) session.release();
    }
    const { rows } = await superuser.query(
      `select amount, actor from tollgate.ledger_entries where organization_id = 'org-id' and kind = 'adjustment'`,
    );
    const booked = { amount: 10, actor: role === 'superuser' ? 'sql:postgres' : 'sql:service_role' };
    expect(rows).toEqual([booked, booked]);
    await expectInvariants(superuser);
    await forget('org-id');
  });
});

/** Takes an organization out again, past what forbids it: the other tests make one of the same id. */
async function forget(organizationId: string): Promise<void> {
  const client = await database.superuser.connect();
  await client.query(`begin; set local session_replication_role = 'replica'`);
  const { rows } = await client.query(
    `select c.table_schema || '.' || c.table_name as name from information_schema.columns c
       join information_schema.tables t using (table_schema, table_name)
      where c.column_name = 'organization_id' and t.table_type = 'BASE TABLE' and c.table_schema in ('tollgate', 'public')`,
  );
  for (const { name } of rows) await client.query(`delete from ${name} where organization_id = $1`, [organizationId]);
  await client.query('delete from organizations where id = $1', [organizationId]);
  await client.query('commit');
  client.release();
}

it('the guide documents these statements, word for word', async () => {
  const guide = oneLine(await readFile(new URL('../../docs/guides/AI_TOKEN_SYSTEM_GUIDE.md', import.meta.url), 'utf8'));
  for (const statement of [BLOCK, PROVISION, ADD, BALANCES, USAGE, BY_FEATURE, TODAY, POLICIES, PROFILE]) {
    expect(guide).toContain(oneLine(statement));
  }
});

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ');
}
