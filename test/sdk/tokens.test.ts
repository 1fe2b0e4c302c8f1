import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  configureTollgate,
  deductTokens,
  getAllTokenBalances,
  getTokenBalance,
  getTokenStats,
  hasEnoughTokens,
  TOKEN_COSTS,
  TOKEN_LIMITS,
} from '@tollgate/sdk';
import { withTokens } from '@tollgate/sdk/withTokens';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { generateQuest } from '../../examples/known-pattern/generateQuest.ts';
import { generateQuest as generateQuestWithTokens } from '../../examples/with-tokens/generateQuest.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let orgId: string;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
  orgId = organization.organizationId;
  configureTollgate({ url: api.url, apiKey: organization.secret });
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await database.drop();
});

async function starter(): Promise<string> {
  const { organizationId, secret } = await createOrganization(database.superuser, 'starter');
  configureTollgate({ url: api.url, apiKey: secret });
  return organizationId;
}

describe('the five functions', () => {
  test('getTokenBalance answers what is left of a token type, and 0 for what is none', async () => {
    expect(await getTokenBalance(orgId, 'goal_generation')).toBe(20);
    for (const name of ['gold', 'toString', '__proto__']) expect(await getTokenBalance(orgId, name as never)).toBe(0);
  });

  test('getAllTokenBalances answers every token type', async () => {
    expect(await getAllTokenBalances(orgId)).toEqual({
      lead_generation: 50,
      goal_generation: 20,
      strategy_analysis: 100,
      forecast: 30,
      general: 50,
    });
  });

  test('hasEnoughTokens is true until the balance does not suffice, and false for what is no feature', async () => {
    expect(await hasEnoughTokens(orgId, 'generate_goal')).toBe(true);
    for (let left = 20; left >= TOKEN_COSTS.generate_goal; left -= TOKEN_COSTS.generate_goal) {
      await deductTokens(orgId, null, 'generate_goal');
    }
    expect(await hasEnoughTokens(orgId, 'generate_goal')).toBe(false);
    expect(await hasEnoughTokens(orgId, 'generate_money' as never)).toBe(false);
  });

  test('on a starter plan nothing is enough and nothing is deducted, whatever the balance', async () => {
    const id = await starter();
    await database.superuser.query('update ai_tokens set balance = 500 where organization_id = $1', [id]);
    expect(await hasEnoughTokens(id, 'generate_goal')).toBe(false);
    expect(await deductTokens(id, 'user-1', 'generate_goal')).toMatchObject({
      success: false,
      message: expect.stringContaining('Feature not available'),
    });
    expect(await getTokenBalance(id, 'goal_generation')).toBe(500);
  });

  test('deductTokens charges, keeps what the app said in the usage log, and tells what is left', async () => {
    expect(await deductTokens(orgId, 'user-1', 'generate_leads', { campaign: 'autumn' })).toEqual({
      success: true,
      remainingBalance: 45,
      message: 'Deducted 5 lead_generation tokens. 45 are left.',
    });
    const { rows } = await database.superuser.query(
      'select u.user_id, u.metadata from ai_token_usage_log u where u.organization_id = $1',
      [orgId],
    );
    expect(rows).toEqual([
      {
        user_id: null,
        metadata: { campaign: 'autumn', userId: 'user-1' },
      },
    ]);
  });

  test('getTokenStats answers totals and types', async () => {
    await deductTokens(orgId, null, 'generate_insight');
    expect(await getTokenStats(orgId)).toMatchObject({ totalBalance: 249, totalUsed: 1, totalAllocated: 250 });
  });

  test('the two tables are the catalogue', () => {
    expect(TOKEN_COSTS.analyze_strategy).toBe(2);
    expect(TOKEN_LIMITS.enterprise.forecast).toBe(200);
  });
});

describe('trouble', () => {
  test('is thrown with its code, so that it cannot pass for an empty balance', async () => {
    const other = await createOrganization(database.superuser);
    await expect(hasEnoughTokens(other.organizationId, 'generate_goal')).rejects.toMatchObject({
      name: 'TollgateError',
      code: 'not_your_organization',
      status: 403,
    });
    configureTollgate({ url: api.url });
    await expect(getTokenStats(orgId)).rejects.toMatchObject({ code: 'unauthorized', status: 401 });
    configureTollgate({ url: 'http://127.0.0.1:9', apiKey: organization.secret, timeoutMs: 500 });
    await expect(deductTokens(orgId, null, 'generate_goal')).rejects.toMatchObject({
      code: 'unreachable',
      status: null,
    });
  });

  test('an answer that was lost is asked for again under the same key: one charge', async () => {
    const proxy = await losingTheFirstAnswer(api.url);
    configureTollgate({ url: proxy.url, apiKey: organization.secret });
    expect(await deductTokens(orgId, null, 'generate_goal')).toMatchObject({ success: true, remainingBalance: 17 });
    expect(proxy.keys).toHaveLength(2);
    expect(new Set(proxy.keys).size).toBe(1);
    configureTollgate({ url: api.url, apiKey: organization.secret });
    expect(await getTokenBalance(orgId, 'goal_generation')).toBe(17);
  });

  test('what is not Tollgate’s answer is thrown as TollgateError, with the key to repeat under; a path before ours is kept', async () => {
    const paths: string[] = [];
    let status = 200;
    const server = createServer((asked, response) => {
      paths.push(asked.url ?? '');
      response.writeHead(status, { location: 'http://127.0.0.1:9/' }).end('<html>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    configureTollgate({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/tollgate/`, apiKey: 'x' });
    for (status of [200, 301, 404, 502]) {
      paths.length = 0;
      await expect(deductTokens(orgId, null, 'generate_goal', {}, { idempotencyKey: 'mine' })).rejects.toMatchObject({
        name: 'TollgateError',
        code: 'unreachable',
        idempotencyKey: 'mine',
      });
      expect(new Set(paths)).toEqual(new Set(['/tollgate/api/v1/tokens/check-balance']));
      // What a repeat may cure is repeated.
      expect(paths).toHaveLength(status === 301 || status === 502 ? 4 : 1);
    }
    await expect(deductTokens(orgId, null, 'generate_goal', {}, { idempotencyKey: 'schlüssel ✅' })).rejects.toThrow(
      RangeError,
    );
  });

  test('without a configuration the environment says where, and without that a sentence does', async () => {
    configureTollgate(undefined as never);
    vi.stubEnv('TOLLGATE_URL', '');
    await expect(getTokenStats(orgId)).rejects.toThrow('Tell where Tollgate is');
    vi.stubEnv('TOLLGATE_URL', api.url);
    vi.stubEnv('TOLLGATE_API_KEY', organization.secret);
    expect((await getTokenStats(orgId)).totalBalance).toBe(250);
    vi.unstubAllEnvs();
  });
});

describe('withTokens', () => {
  const left = () => getTokenBalance(orgId, 'goal_generation');

  test('holds first, and charges what the work used once it is done', async () => {
    const result = await withTokens('generate_goal', async ({ tokens }) => {
      expect([tokens, await left()]).toEqual([3, 17]);
      return 'done';
    });
    expect([result, await left()]).toEqual(['done', 17]);
    await withTokens('generate_goal', async (held) => held.use(4), { tokens: 10 });
    expect(await left()).toBe(13);
    await withTokens('generate_goal', async (held) => held.use(0));
    expect(await left()).toBe(13);
  });

  test('runs once under a key: a second run is refused before the work, which it could not pay', async () => {
    let worked = 0;
    const run = () => withTokens('generate_goal', async () => (worked += 1), { idempotencyKey: 'one' });
    await run();
    await expect(run()).rejects.toThrow('Use a new one for new work');
    expect([worked, await left()]).toEqual([1, 17]);
  });

  test.each([4, -1, 1.5, Number.NaN, '2' as never, undefined as never])(
    'work that says it used %s gives the tokens back',
    async (used) => {
      await expect(withTokens('generate_goal', async (held) => held.use(used))).rejects.toThrow(RangeError);
      expect(await left()).toBe(20);
    },
  );

  test('gives the tokens back when the work throws, and lets its error go on', async () => {
    await expect(withTokens('generate_goal', () => Promise.reject(new RangeError('too far')))).rejects.toThrow(
      RangeError,
    );
    expect(await left()).toBe(20);
  });

  test('does not begin the work without tokens for it, on a starter plan neither', async () => {
    const never = () => Promise.reject(new Error('the work was done'));
    await expect(withTokens('generate_goal', never, { tokens: 21 })).rejects.toMatchObject({
      code: 'tokens_insufficient',
      status: 402,
    });
    await starter();
    await expect(withTokens('generate_goal', never)).rejects.toMatchObject({
      code: 'feature_not_available',
      status: 403,
    });
  });

  test('of two at once on the last tokens, one works and is charged and one never begins', async () => {
    await database.superuser.query('update ai_tokens set balance = 3 where organization_id = $1', [orgId]);
    let worked = 0;
    const both = await Promise.allSettled([1, 2].map(() => withTokens('generate_goal', async () => (worked += 1))));
    expect([worked, both.map(({ status }) => status).sort(), await left()]).toEqual([1, ['fulfilled', 'rejected'], 0]);
  });

  test('is the pattern in one step, as an example', async () => {
    const notified: string[] = [];
    const app = { work: async () => 'Map the harbour', notify: (message: string) => void notified.push(message) };
    expect(await generateQuestWithTokens(app)).toEqual({ outcome: 'generated', title: 'Map the harbour' });
    expect([notified, await left()]).toEqual([['Quest generated.'], 17]);
    await database.superuser.query('update ai_tokens set balance = 2 where organization_id = $1', [orgId]);
    expect((await generateQuestWithTokens(app)).outcome).toBe('out_of_tokens');
    await starter();
    expect((await generateQuestWithTokens(app)).outcome).toBe('upgrade_needed');
  });
});

describe('the known pattern, as an example', () => {
  const app = (notified: string[]) => ({
    work: async () => 'Map the harbour',
    notify: (message: string) => void notified.push(message),
  });

  test('generates, deducts, and tells what is left', async () => {
    const notified: string[] = [];
    expect(await generateQuest({ id: orgId, plan: 'pro' }, 'user-1', app(notified))).toEqual({
      outcome: 'generated',
      title: 'Map the harbour',
      remainingBalance: 17,
    });
    expect(notified).toEqual(['Quest generated. 17 tokens are left.']);
  });

  test('stops before the work on a starter plan and on an empty balance', async () => {
    const never = { work: () => Promise.reject(new Error('the work was done')), notify: () => {} };
    expect((await generateQuest({ id: await starter(), plan: 'starter' }, 'user-1', never)).outcome).toBe(
      'upgrade_needed',
    );
    configureTollgate({ url: api.url, apiKey: organization.secret });
    await database.superuser.query('update ai_tokens set balance = 2 where organization_id = $1', [orgId]);
    expect((await generateQuest({ id: orgId, plan: 'pro' }, 'user-1', never)).outcome).toBe('out_of_tokens');
  });
});

/** Passes requests on, but cuts the connection in place of the first answer, after Tollgate has given it. */
async function losingTheFirstAnswer(target: string): Promise<{ url: string; keys: string[] }> {
  const keys: string[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    keys.push(String(request.headers['idempotency-key']));
    const answer = await fetch(new URL(request.url ?? '/', target), {
      method: request.method ?? 'GET',
      headers: {
        authorization: String(request.headers.authorization),
        'content-type': 'application/json',
        'idempotency-key': keys.at(-1)!,
      },
      body: Buffer.concat(chunks),
    });
    const text = await answer.text();
    if (keys.length === 1) request.socket.destroy();
    else response.writeHead(answer.status, { 'content-type': 'application/json' }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, keys };
}
