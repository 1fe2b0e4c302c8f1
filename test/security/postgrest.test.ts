import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deductTokens } from '../../db/tokens.ts';
import { startAuthStandIn } from '../../dev/authStandIn.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

// Members read with the session that they have, past our API: PostgREST logs in as a role that may become `anon`,
// `authenticated` or `service_role`, and sets the session's claims for the transaction. So does this, over a plain connection.

let database: TestDatabase;
let ours: TestOrganization;
let theirs: TestOrganization;
let authenticator: { role: string; url: string };
const ann = randomUUID();
const bob = randomUUID();

beforeAll(async () => {
  database = await freshDatabase();
  const { superuser } = database;
  ours = await createOrganization(superuser, 'pro', 'ours');
  theirs = await createOrganization(superuser, 'pro', 'theirs');
  await superuser.query(
    `insert into user_profiles (id, organization_id, role) values ($1, 'ours', 'member'), ($2, 'theirs', 'admin')`,
    [ann, bob],
  );
  for (const { organizationId, principal } of [ours, theirs]) {
    await deductTokens(database.api, {
      organizationId,
      principal,
      holdId: 'h',
      feature: 'generate_goal',
      metadata: {},
      idempotency: null,
    });
  }
  const role = `authenticator_${randomUUID().slice(0, 8)}`;
  await superuser.query(
    `create role ${role} login noinherit password 'postgrest'; grant anon, authenticated, service_role to ${role}`,
  );
  const url = new URL(database.apiUrl);
  url.username = role;
  url.password = 'postgrest';
  authenticator = { role, url: url.href };
});
afterAll(async () => {
  await database.superuser.query(`drop role ${authenticator.role}`);
  await database.drop();
});

/** The claims of a session of Supabase's, as its stand-in issues them. */
async function sessionOf(userId: string): Promise<string> {
  const auth = await startAuthStandIn();
  const token = await auth.issueToken({ userId });
  await auth.stop();
  return Buffer.from(token.split('.')[1]!, 'base64url').toString();
}

/** One request of PostgREST's: a transaction with the role and the claims of its session. */
async function request(
  client: pg.Client,
  { role, claims }: { role: 'anon' | 'authenticated' | 'service_role'; claims?: string },
  statement: string,
): Promise<Record<string, unknown>[] | 'refused'> {
  await client.query('begin');
  try {
    await client.query("select set_config('role', $1, true), set_config('request.jwt.claims', $2, true)", [
      role,
      claims ?? '{}',
    ]);
    return (await client.query(statement)).rows;
  } catch (error) {
    if ((error as pg.DatabaseError).code === '42501') return 'refused';
    throw error;
  } finally {
    await client.query('rollback');
  }
}

async function connected<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: authenticator.url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

const TENANTS: Record<string, string> = {
  organizations: 'select distinct id as tenant from organizations',
  user_profiles: 'select distinct organization_id as tenant from user_profiles',
  ai_tokens: 'select distinct organization_id as tenant from ai_tokens',
  ai_token_usage_log: 'select distinct organization_id as tenant from ai_token_usage_log',
};

describe('I9 a member who reads past the API', () => {
  test.each(Object.entries(TENANTS))('sees her own organization in %s, and nobody else’s', async (_, statement) => {
    await connected(async (client) => {
      const [annsClaims, bobsClaims] = [await sessionOf(ann), await sessionOf(bob)];
      // On one connection, as a pool would: nothing of the request before is left.
      for (let round = 0; round < 2; round++) {
        expect(await request(client, { role: 'authenticated', claims: annsClaims }, statement)).toEqual([
          { tenant: 'ours' },
        ]);
        expect(await request(client, { role: 'authenticated', claims: bobsClaims }, statement)).toEqual([
          { tenant: 'theirs' },
        ]);
        expect(await request(client, { role: 'authenticated' }, statement)).toEqual([]);
      }
    });
  });

  test('sees the balance that the ledger has, after a deduction', async () => {
    await connected(async (client) => {
      const claims = await sessionOf(ann);
      expect(
        await request(
          client,
          { role: 'authenticated', claims },
          `select balance, total_allocated from ai_tokens where token_type = 'goal_generation'`,
        ),
      ).toEqual([{ balance: '17', total_allocated: '20' }]);
    });
  });

  test.each(['', '{}', '{"sub":""}', '{"sub":null}', `{"sub":"' or true --"}`, `{"sub":"${randomUUID()}"}`])(
    'whose claims are %s sees nothing, in no table',
    async (claims) => {
      await connected(async (client) => {
        for (const statement of Object.values(TENANTS)) {
          expect(await request(client, { role: 'authenticated', claims }, statement), statement).toEqual([]);
        }
      });
    },
  );

  test('gains nothing by claims of her own making', async () => {
    const session = JSON.parse(await sessionOf(ann));
    const claims = JSON.stringify({
      ...session,
      role: 'service_role',
      organization_id: 'theirs',
      user_metadata: { organization_id: 'theirs' },
      app_metadata: { organization_id: 'theirs' },
    });
    await connected(async (client) => {
      await client.query(`set tollgate.organizations = 'theirs'`);
      for (const statement of Object.values(TENANTS)) {
        expect(await request(client, { role: 'authenticated', claims }, statement)).toEqual([{ tenant: 'ours' }]);
      }
    });
  });

  test('who has changed organizations sees the new one with the session that she has', async () => {
    const carl = randomUUID();
    const claims = await sessionOf(carl);
    await connected(async (client) => {
      for (const organization of ['ours', 'theirs']) {
        await database.superuser.query(
          `insert into user_profiles (id, organization_id) values ($1, $2) on conflict (id) do update set organization_id = $2`,
          [carl, organization],
        );
        expect(await request(client, { role: 'authenticated', claims }, TENANTS.ai_tokens!)).toEqual([
          { tenant: organization },
        ]);
      }
    });
    await database.superuser.query('delete from user_profiles where id = $1', [carl]);
  });
});

describe('S10 is refused by rights', () => {
  const WRITES = [
    `update organizations set plan = 'enterprise'`,
    `insert into organizations (id, name, plan) values ('mine', 'Mine', 'enterprise')`,
    `update user_profiles set organization_id = 'theirs'`,
    `update user_profiles set role = 'admin'`,
    `insert into user_profiles (id, organization_id) values ('x', 'theirs')`,
    'update ai_tokens set balance = 1000',
    `insert into ai_tokens (organization_id, token_type, balance) values ('ours', 'forecast', 1000)`,
    'delete from ai_tokens',
    `insert into ai_token_usage_log (organization_id, feature_used, tokens_deducted) values ('ours', 'generate_goal', -1000)`,
    'delete from ai_token_usage_log',
    'truncate ai_token_usage_log',
    'select * from tollgate.balances',
    `select tollgate.deduct_tokens('theirs', 'user:x', 'h', 'generate_goal', '{}', null, null)`,
    `select tollgate.check_tokens('{theirs}', '{user:x}', '{generate_goal}')`,
    `select tollgate.token_stats('theirs', 'user:x')`,
    `select tollgate.organization_of('x')`,
  ];
  test.each(WRITES)('%s', async (statement) => {
    await connected(async (client) => {
      const claims = await sessionOf(ann);
      expect(await request(client, { role: 'authenticated', claims }, statement)).toBe('refused');
      expect(await request(client, { role: 'anon' }, statement)).toBe('refused');
    });
  });

  test('every function of the schema tollgate, whoever calls', async () => {
    const { rows } = await database.superuser.query(
      `select format('select tollgate.%I(%s)', p.proname,
                (select string_agg('null::' || format_type(t.type, null), ', ' order by t.position)
                   from unnest(p.proargtypes) with ordinality as t (type, position))) as call
         from pg_proc p where p.pronamespace = 'tollgate'::regnamespace order by 1`,
    );
    expect(rows.length).toBeGreaterThan(30);
    const claims = await sessionOf(ann);
    await connected(async (client) => {
      for (const { call } of rows) {
        for (const role of ['anon', 'authenticated'] as const) {
          expect(await request(client, { role, claims }, call), `${role}: ${call}`).toBe('refused');
        }
      }
    });
  });

  test.each(Object.values(TENANTS))('whoever has not signed in, with a member’s claims too: %s', async (statement) => {
    const claims = await sessionOf(ann);
    await connected(async (client) => {
      expect(await request(client, { role: 'anon' }, statement)).toBe('refused');
      expect(await request(client, { role: 'anon', claims }, statement)).toBe('refused');
      // Nor what PostgREST's own login may do before it has become somebody.
      await expect(client.query(statement)).rejects.toMatchObject({ code: '42501' });
    });
  });
});
