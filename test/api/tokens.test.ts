import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createSessions, type SessionConfig } from '../../api/sessions.ts';
import { tokenCheck, tokenDeduction, tokenStats } from '../../contract/tokens.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { type AuthStandIn, startAuthStandIn } from '../../dev/authStandIn.ts';
import { TOKEN_LIMITS, TOKEN_TYPES } from '../../domain/catalog.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { expectProblem, GOAL, startTestApi, type TestApi, traces } from './testApi.ts';

const CHECK_BALANCE = '/api/v1/tokens/check-balance';

let database: TestDatabase;
let api: TestApi;
let auth: AuthStandIn;
let organization: TestOrganization;
beforeAll(async () => {
  database = await freshDatabase();
  auth = await startAuthStandIn();
  const { SUPABASE_URL, ...unset } = UNSET;
  api = await startTestApi(database, { sessions: createSessions({ ...unset, SUPABASE_URL: auth.url }) });
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterEach(() => expectInvariants(database.superuser));
afterAll(async () => {
  await api.close();
  await auth.stop();
  await database.drop();
});

const UNSET: SessionConfig = {
  SUPABASE_URL: undefined,
  NEXT_PUBLIC_SUPABASE_URL: undefined,
  SUPABASE_JWT_SECRET: undefined,
  SUPABASE_ANON_KEY: undefined,
  NEXT_PUBLIC_SUPABASE_ANON_KEY: undefined,
};

const ask = (
  action: 'check' | 'deduct',
  fields: Record<string, unknown> = {},
  { key = organization.secret, headers = {} }: { key?: string; headers?: Record<string, string> } = {},
) =>
  api.call(CHECK_BALANCE, {
    key,
    headers,
    json: { organizationId: organization.organizationId, featureUsed: 'generate_goal', action, ...fields },
  });
const stats = (organizationId = organization.organizationId, key = organization.secret) =>
  api.call(`/api/v1/tokens/stats?organizationId=${organizationId}`, { key });
const goalTokens = async () =>
  (await balanceOf(database.superuser, organization.organizationId, 'goal_generation')).available;
const setGoalTokens = (balance: number) =>
  database.superuser.query(
    `update ai_tokens set balance = $2 where organization_id = $1 and token_type = 'goal_generation'`,
    [organization.organizationId, balance],
  );
async function usageLog() {
  const { rows } = await database.superuser.query(
    `select u.user_id, u.feature_used, u.tokens_deducted, u.metadata from ai_token_usage_log u where u.organization_id = $1 order by u.id`,
    [organization.organizationId],
  );
  return rows;
}

describe('a check', () => {
  test('answers exactly { hasTokens: true } while the balance suffices, and moves nothing', async () => {
    const before = await traces(database, organization.organizationId);
    const reply = await ask('check');
    expect([reply.status, reply.text]).toEqual([200, '{"hasTokens":true}']);
    expect(await traces(database, organization.organizationId)).toEqual(before);
  });

  test('says no, and why, when the balance does not suffice', async () => {
    await setGoalTokens(2);
    const reply = await ask('check');
    expect(reply.status).toBe(200);
    expect(tokenCheck.parse(reply.body)).toEqual({
      hasTokens: false,
      message: expect.stringContaining('needs 3 goal_generation tokens, 2 are left'),
    });
  });

  test('R2 sees what is held, as a hold would', async () => {
    await holderOf(database.api, organization).hold('most', 46);
    const leads = { featureUsed: 'generate_leads' };
    expect((await ask('check', leads)).body.hasTokens).toBe(false);
    expect((await ask('deduct', leads)).body.success).toBe(false);
  });

  test('I8 sees the new period without any scheduler', async () => {
    await setGoalTokens(0);
    await elapse(database.superuser, organization.organizationId, '32 days');
    expect((await ask('check')).body).toEqual({ hasTokens: true });
  });
});

describe('a deduction', () => {
  test('charges the feature’s price once, and answers what is left of its token type', async () => {
    const reply = await ask('deduct', { metadata: { questId: 'q-1' } });
    expect(reply.status).toBe(200);
    expect(tokenDeduction.parse(reply.body)).toEqual({
      success: true,
      remainingBalance: 17,
      message: 'Deducted 3 goal_generation tokens. 17 are left.',
    });
    expect(await goalTokens()).toBe(17);
  });

  test('writes the usage log with its metadata; who it was and what is charged stand in columns of their own', async () => {
    const metadata = { questId: 'q-1', principal: 'user:somebody-else', charge_id: 'x.1' };
    await ask('deduct', { metadata });
    const { rows } = await database.superuser.query(
      `select u.user_id, u.feature_used, u.tokens_deducted, u.token_type, u.principal, u.charge_id, u.metadata
         from ai_token_usage_log u where u.organization_id = $1`,
      [organization.organizationId],
    );
    expect(rows).toEqual([
      {
        user_id: null,
        feature_used: 'generate_goal',
        tokens_deducted: 3,
        token_type: 'goal_generation',
        principal: organization.principal,
        charge_id: expect.stringMatching(/^[0-9a-f-]{36}[.]1$/),
        metadata,
      },
    ]);
  });

  test('logs ✅ Deducted 3 tokens with the request id', async () => {
    const reply = await ask('deduct');
    const line = api.logLines
      .map((text) => JSON.parse(text))
      .find(({ requestId, msg }) => requestId === reply.headers.get('x-request-id') && msg !== 'request');
    expect(line).toMatchObject({ msg: '✅ Deducted 3 tokens', organizationId: organization.organizationId });
  });

  test('that the balance cannot bear answers 200, success false and what is left, and moves nothing', async () => {
    await setGoalTokens(2);
    const before = await traces(database, organization.organizationId);
    const reply = await ask('deduct');
    expect(reply.status).toBe(200);
    expect(tokenDeduction.parse(reply.body)).toEqual({
      success: false,
      remainingBalance: 2,
      message: expect.stringContaining('needs 3 goal_generation tokens, 2 are left'),
    });
    expect(await traces(database, organization.organizationId)).toEqual(before);
    expect(await usageLog()).toEqual([]);
  });

  test('R1 a hundred at once on the last tokens admit exactly what the balance allows', async () => {
    const replies = await Promise.all(Array.from({ length: 100 }, () => ask('deduct')));
    const made = replies.filter(({ body }) => body.success);
    expect(made.map(({ body }) => body.remainingBalance).toSorted((a, b) => b - a)).toEqual([17, 14, 11, 8, 5, 2]);
    expect(
      replies
        .filter(({ body }) => !body.success)
        .every(({ status, body }) => status === 200 && body.remainingBalance === 2),
    ).toBe(true);
    expect(await goalTokens()).toBe(2);
    expect(await usageLog()).toHaveLength(6);
  });

  test('R4 a hundred times under one key is one charge and a hundred equal answers', async () => {
    const headers = { 'Idempotency-Key': 'hundredfold' };
    const replies = await Promise.all(Array.from({ length: 100 }, () => ask('deduct', {}, { headers })));
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`))).toEqual(
      new Set([
        '200 {"success":true,"remainingBalance":17,"message":"Deducted 3 goal_generation tokens. 17 are left."}',
      ]),
    );
    expect(replies.filter(({ headers }) => headers.get('idempotent-replayed') === 'true')).toHaveLength(99);
    expect(await goalTokens()).toBe(17);
  });

  test('R5 the same key with another body is refused without effect, and is free for another organization', async () => {
    const headers = { 'Idempotency-Key': 'one' };
    await ask('deduct', {}, { headers });
    expectProblem(await ask('deduct', { metadata: { other: true } }, { headers }), 'idempotency_key_reused');
    expectProblem(
      await api.call('/api/v1/jobs', {
        key: organization.secret,
        headers,
        json: { feature: 'generate_goal', input: { industry: 'logistics', horizonMonths: 12 } },
      }),
      'idempotency_key_reused',
    );
    expect(await goalTokens()).toBe(17);
    const other = await createOrganization(database.superuser);
    const reply = await ask('deduct', { organizationId: other.organizationId }, { key: other.secret, headers });
    expect([reply.body.remainingBalance, reply.headers.get('idempotent-replayed')]).toEqual([17, null]);
  });

  test('that was refused leaves its key free for the retry after a top-up', async () => {
    const headers = { 'Idempotency-Key': 'retry' };
    await setGoalTokens(2);
    expect((await ask('deduct', {}, { headers })).body.success).toBe(false);
    await setGoalTokens(5);
    expect((await ask('deduct', {}, { headers })).body).toMatchObject({ success: true, remainingBalance: 2 });
  });

  test('without a key is made each time it is asked for', async () => {
    expect([(await ask('deduct')).body.remainingBalance, (await ask('deduct')).body.remainingBalance]).toEqual([
      17, 14,
    ]);
  });
});

describe('stats', () => {
  test('show every token type, what is held and used, and the next refresh', async () => {
    await ask('deduct');
    await holderOf(database.api, organization).hold('open', 10);
    const reply = await stats();
    expect(reply.status).toBe(200);
    const body = tokenStats.parse(reply.body);
    expect(body.byType.map(({ refreshDate, ...type }) => type)).toEqual(
      TOKEN_TYPES.toSorted().map((tokenType) => {
        const allocated = TOKEN_LIMITS.pro[tokenType];
        const used = tokenType === 'goal_generation' ? 3 : 0;
        const held = tokenType === 'lead_generation' ? 10 : 0;
        return { tokenType, balance: allocated - used - held, held, used, allocated, percentUsed: used === 0 ? 0 : 15 };
      }),
    );
    expect(body).toMatchObject({ totalBalance: 237, totalUsed: 3, totalAllocated: 250 });
    expect(new Set([body.refreshDate, ...body.byType.map((type) => type.refreshDate)]).size).toBe(1);
    expect(Date.parse(body.refreshDate!)).toBeGreaterThan(Date.now() + 27 * 86_400_000);
  });

  test('I8 are exact by time: after the month nothing is used or held, and the refresh is the next one', async () => {
    await ask('deduct');
    await holderOf(database.api, organization).hold('open', 10);
    await elapse(database.superuser, organization.organizationId, '32 days');
    const body = tokenStats.parse((await stats()).body);
    expect(body).toMatchObject({ totalBalance: 250, totalUsed: 0, totalAllocated: 250 });
    expect(body.byType.map(({ held, used }) => held + used)).toEqual([0, 0, 0, 0, 0]);
    expect(Date.parse(body.refreshDate!)).toBeGreaterThan(Date.now());
  });

  test('of a starter organization are there, and empty', async () => {
    const starter = await createOrganization(database.superuser, 'starter');
    const body = tokenStats.parse((await stats(starter.organizationId, starter.secret)).body);
    expect(body).toMatchObject({ totalBalance: 0, totalUsed: 0, totalAllocated: 0 });
    expect(body.byType.map(({ percentUsed }) => percentUsed)).toEqual([0, 0, 0, 0, 0]);
  });

  test('of an organization that was there before Tollgate are what its first use will find', async () => {
    const client = await database.superuser.connect();
    await client.query(
      `set session_replication_role = 'replica'; insert into organizations (id, name, plan) values ('veteran', 'Veteran', 'pro')`,
    );
    await client.query('reset session_replication_role');
    client.release();
    const key = await createApiKey(database.superuser, {
      organizationId: 'veteran',
      name: 'v',
      scopes: ['tokens:read', 'tokens:write'],
    });
    expect(tokenStats.parse((await stats('veteran', key.secret)).body)).toMatchObject({
      totalBalance: 250,
      totalAllocated: 250,
    });
    expect((await ask('check', { organizationId: 'veteran' }, { key: key.secret })).body).toEqual({ hasTokens: true });
    expect((await ask('deduct', { organizationId: 'veteran' }, { key: key.secret })).body.remainingBalance).toBe(17);
  });
});

describe('a signed-in user', () => {
  let memberOf: (organizationId: string | null, role?: string) => Promise<{ userId: string; key: string }>;
  beforeAll(() => {
    memberOf = async (organizationId, role = 'member') => {
      const userId = randomUUID();
      if (organizationId !== null) {
        await database.superuser.query('insert into user_profiles (id, organization_id, role) values ($1, $2, $3)', [
          userId,
          organizationId,
          role,
        ]);
      }
      return { userId, key: await auth.issueToken({ userId }) };
    };
  });

  test.each(['member', 'admin'])('who is a %s checks, deducts in his own name, and sees the stats', async (role) => {
    const { userId, key } = await memberOf(organization.organizationId, role);
    expect((await ask('check', {}, { key })).body).toEqual({ hasTokens: true });
    expect((await ask('deduct', { metadata: { userId: 'somebody-else' } }, { key })).body.remainingBalance).toBe(17);
    expect((await stats(organization.organizationId, key)).body).toMatchObject({ totalUsed: 3 });
    expect(await usageLog()).toMatchObject([{ user_id: userId, metadata: { userId: 'somebody-else' } }]);
  });

  test('asks for jobs of his organization, and sees those of no other', async () => {
    const { key } = await memberOf(organization.organizationId);
    const asked = await api.call('/api/v1/jobs', { key, headers: { 'Idempotency-Key': randomUUID() }, json: GOAL });
    expect(asked.status).toBe(202);
    expect((await api.call(asked.body.links.self, { key })).status).toBe(200);
    const foreign = await memberOf((await createOrganization(database.superuser)).organizationId);
    expectProblem(await api.call(asked.body.links.self, { key: foreign.key }), 'job_not_found');
    expect((await api.call('/api/v1/jobs', { key: foreign.key })).body.jobs).toEqual([]);
  });

  test('of another organization, or of none, is refused with 403', async () => {
    const other = await createOrganization(database.superuser);
    for (const { key } of [await memberOf(other.organizationId), await memberOf(null)]) {
      for (const action of ['check', 'deduct'] as const)
        expectProblem(await ask(action, {}, { key }), 'not_your_organization');
      expectProblem(await stats(organization.organizationId, key), 'not_your_organization');
    }
    const { key } = await memberOf(null);
    expectProblem(await api.call('/api/v1/jobs', { key }), 'not_your_organization');
    expect(await goalTokens()).toBe(20);
  });

  test('who has left his organization is refused at once, with the session that he still has', async () => {
    const { userId, key } = await memberOf(organization.organizationId);
    expect((await ask('check', {}, { key })).status).toBe(200);
    await database.superuser.query('delete from user_profiles where id = $1', [userId]);
    expectProblem(await ask('check', {}, { key }), 'not_your_organization');
  });

  test('whose claims name a role or an organization gains nothing by it', async () => {
    const claims = {
      user_metadata: { organization_id: organization.organizationId, role: 'admin' },
      organization_id: organization.organizationId,
    };
    const key = await auth.issueToken({ userId: randomUUID(), claims: claims as never });
    expectProblem(await ask('deduct', {}, { key }), 'not_your_organization');
  });

  test('with a session that is over gets 401, and 503 while sessions cannot be checked', async () => {
    const { userId } = await memberOf(organization.organizationId);
    const over = await auth.issueToken({ userId, claims: { exp: Math.floor(Date.now() / 1_000) - 60 } });
    expectProblem(await ask('check', {}, { key: over }), 'unauthorized');
    const nowhere = await startTestApi(database, {
      sessions: createSessions({ ...UNSET, SUPABASE_URL: 'http://127.0.0.1:9' }),
    });
    try {
      const reply = await nowhere.call(`/api/v1/tokens/stats?organizationId=${organization.organizationId}`, {
        key: await auth.issueToken({ userId }),
      });
      expectProblem(reply, 'sign_in_unavailable');
      expect(reply.headers.get('retry-after')).toBe('2');
    } finally {
      await nowhere.close();
    }
  });

  test('S7 leaves no session token in the log', async () => {
    const { key } = await memberOf(organization.organizationId);
    await ask('deduct', {}, { key });
    const log = api.logLines.join('\n');
    expect(log).toContain(`"principal":"user:`);
    for (const part of key.split('.')) expect(log).not.toContain(part);
  });
});

describe('is refused, with nothing written and nothing held:', () => {
  let untouched: unknown;
  beforeEach(async () => {
    untouched = await traces(database, organization.organizationId);
  });
  afterEach(async () => {
    expect(await traces(database, organization.organizationId)).toEqual(untouched);
  });

  test.each(['check', 'deduct'] as const)('%s on a starter plan, whatever the balance', async (action) => {
    const starter = await createOrganization(database.superuser, 'starter');
    await database.superuser.query(`update ai_tokens set balance = 500 where organization_id = $1`, [
      starter.organizationId,
    ]);
    const reply = await ask(action, { organizationId: starter.organizationId }, { key: starter.secret });
    expect(expectProblem(reply, 'feature_not_available').title).toBe('Feature not available');
    await database.superuser.query(`update organizations set plan = 'pro' where id = $1`, [starter.organizationId]);
    expect((await ask(action, { organizationId: starter.organizationId }, { key: starter.secret })).status).toBe(200);
  });

  test.each(['check', 'deduct'] as const)('I9 %s for another organization, known or not', async (action) => {
    const other = await createOrganization(database.superuser);
    for (const key of [other.secret]) {
      expectProblem(await ask(action, {}, { key }), 'not_your_organization');
      expectProblem(await ask(action, { organizationId: 'nobody' }, { key }), 'not_your_organization');
    }
  });

  test('I9 stats of another organization, known or not', async () => {
    const other = await createOrganization(database.superuser);
    expectProblem(await stats(organization.organizationId, other.secret), 'not_your_organization');
    expectProblem(await stats('nobody', other.secret), 'not_your_organization');
  });

  test('without credentials', async () => {
    for (const headers of [
      {},
      { Authorization: 'Bearer ' },
      { Authorization: 'Basic eDp5' },
      { Authorization: 'Bearer tg_live_no' },
      { Authorization: 'Bearer a.b.c' },
    ]) {
      expectProblem(await api.call(CHECK_BALANCE, { headers, json: {} }), 'unauthorized');
      expectProblem(await api.call('/api/v1/tokens/stats?organizationId=x', { headers }), 'unauthorized');
    }
  });

  test('with a key that lacks the scope of what is asked', async () => {
    const reader = await createApiKey(database.superuser, { ...organization, name: 'reader', scopes: ['tokens:read'] });
    expect((await ask('check', {}, { key: reader.secret })).status).toBe(200);
    expect(expectProblem(await ask('deduct', {}, { key: reader.secret }), 'scope_missing').scope).toBe('tokens:write');
    const jobs = await createApiKey(database.superuser, { ...organization, name: 'jobs', scopes: ['jobs:read'] });
    expect(expectProblem(await ask('check', {}, { key: jobs.secret }), 'scope_missing').scope).toBe('tokens:read');
    expectProblem(await stats(organization.organizationId, jobs.secret), 'scope_missing');
  });

  test.each(['generate_money', 'goal_generation', 'constructor', '__proto__', "'; drop table organizations; --"])(
    'a name that is no feature, with 200, a message and a line in the log: %s',
    async (featureUsed) => {
      const check = await ask('check', { featureUsed });
      expect([check.status, check.body]).toEqual([
        200,
        { hasTokens: false, message: expect.stringContaining('no such feature') },
      ]);
      const deduct = await ask('deduct', { featureUsed });
      expect([deduct.status, deduct.body]).toEqual([
        200,
        { success: false, remainingBalance: 0, message: expect.stringContaining('no such feature') },
      ]);
      for (const reply of [check, deduct]) {
        expect(
          api.logLines.some(
            (line) => line.includes(reply.headers.get('x-request-id')!) && line.includes('not in the catalogue'),
          ),
        ).toBe(true);
      }
    },
  );

  const body = (fields: Record<string, unknown>) =>
    JSON.stringify({
      organizationId: organization.organizationId,
      featureUsed: 'generate_goal',
      action: 'deduct',
      ...fields,
    });
  test.each<[string, () => string, string]>([
    ['no organizationId', () => body({ organizationId: undefined }), 'organizationId'],
    ['no featureUsed', () => body({ featureUsed: undefined }), 'featureUsed'],
    ['no action', () => body({ action: undefined }), 'action'],
    ['another action', () => body({ action: 'add' }), 'action'],
    ['an organization in a list', () => body({ organizationId: [organization.organizationId] }), 'organizationId'],
    [
      'two organizations in one',
      () => body({ organizationId: `${organization.organizationId},other` }),
      'organizationId',
    ],
    ['an organization with a NUL', () => body({ organizationId: 'a\0b' }), 'organizationId'],
    ['a feature that is a number', () => body({ featureUsed: 3 }), 'featureUsed'],
    ['a feature that is empty', () => body({ featureUsed: '' }), 'featureUsed'],
    ['S4 an amount', () => body({ tokens: -1 }), 'tokens'],
    ['S6 a user', () => body({ userId: 'somebody' }), 'userId'],
    ['S6 a balance', () => body({ balance: 1000 }), 'balance'],
    ['S6 a role', () => body({ role: 'admin' }), 'role'],
    ['metadata that is text', () => body({ metadata: 'x' }), 'metadata'],
    ['metadata that is a list', () => body({ metadata: [] }), 'metadata'],
    ['S5 metadata with a NUL', () => body({ metadata: { a: 'x\0' } }), 'metadata.a'],
    ['S5 metadata with half a letter', () => body({}).replace('}', ',"metadata":{"a":"\\ud800"}}'), 'metadata.a'],
    [
      'S5 metadata with __proto__',
      () => body({}).replace('}', ',"metadata":{"__proto__":{"a":1}}}'),
      'metadata.__proto__',
    ],
    ['S5 a key twice', () => body({}).replace('}', ',"action":"check"}'), 'action'],
  ])('a body with %s, by its name', async (_, text, path) => {
    const reply = await api.call(CHECK_BALANCE, {
      key: organization.secret,
      headers: { 'Content-Type': 'application/json' },
      body: text(),
    });
    expect(expectProblem(reply, 'invalid_request').errors?.map((error) => error.path)).toContain(path);
  });

  test.each([
    ['', 'malformed_json'],
    ['{', 'malformed_json'],
    [`{"a":"${'x'.repeat(70_000)}"}`, 'payload_too_large'],
    [`{"metadata":${'{"a":'.repeat(200)}1${'}'.repeat(200)}}`, 'invalid_request'],
  ] as const)('S5 a body that is not ours to read', async (text, code) => {
    expectProblem(
      await api.call(CHECK_BALANCE, {
        key: organization.secret,
        headers: { 'Content-Type': 'application/json' },
        body: text,
        method: 'POST',
      }),
      code,
    );
  });

  test.each([
    '',
    '?organizationId=',
    '?organizationId=a%00b',
    '?organizationId=a&organizationId=b',
    '?organizationId=a&role=admin',
  ])('stats%s', async (query) => {
    expectProblem(await api.call(`/api/v1/tokens/stats${query}`, { key: organization.secret }), 'invalid_request');
  });

  test('an Idempotency-Key that is none', async () => {
    for (const key of ['', 'x'.repeat(256)]) {
      expectProblem(await ask('deduct', {}, { headers: { 'Idempotency-Key': key } }), 'idempotency_key_invalid');
    }
  });
});

test('S3 a row that the database’s policies refuse is 403, and nothing of the deduction stays', async () => {
  const before = await traces(database, organization.organizationId);
  await database.superuser.query(
    `alter policy "System can insert usage" on ai_token_usage_log with check (organization_id <> '${organization.organizationId}')`,
  );
  try {
    expectProblem(await ask('deduct', {}, { headers: { 'Idempotency-Key': randomUUID() } }), 'not_your_organization');
  } finally {
    await database.superuser.query(`alter policy "System can insert usage" on ai_token_usage_log with check (true)`);
  }
  expect(await traces(database, organization.organizationId)).toEqual(before);
  expect((await ask('deduct')).body.remainingBalance).toBe(17);
});
