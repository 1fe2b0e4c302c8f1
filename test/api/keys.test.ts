import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createdKey, keyList, key as keySchema, rotatedKey } from '../../contract/keys.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { createOperator } from '../../db/operators.ts';
import { KEY_SCOPES } from '../../domain/keyScopes.ts';
import { asOwner } from '../support/asOwner.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { type Ask, expectProblem, type Reply, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let other: TestOrganization;
let operator: Record<string, string>;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database, {
    // The token is the user's id: what a session proves is tested elsewhere.
    sessions: { verify: async (token) => ({ outcome: 'signed_in', userId: token }) },
  });
  other = await createOrganization(database.superuser);
  const { credential } = await createOperator(database.superuser, { name: 'ann' });
  operator = { Authorization: `Bearer ${credential}`, 'Tollgate-Reason': 'ticket 7' };
});
afterAll(async () => {
  await api.close();
  await expectInvariants(database.superuser);
  await database.drop();
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'enterprise');
});

const base = (id = organization.organizationId) => `/api/v1/organizations/${id}/keys`;
const ask = (path: string, request: Ask = {}) => api.call(path, { key: organization.secret, ...request });
const create = (json: object = { name: 'shop', scopes: ['tokens:read', 'tokens:write'] }, request: Ask = {}) =>
  ask(base(), { json, ...request });
const rotate = (id: string, overlapSeconds?: number, request: Ask = {}) =>
  ask(`${base()}/${id}/rotate`, { json: overlapSeconds === undefined ? {} : { overlapSeconds }, ...request });
const revoke = (id: string, request: Ask = {}) => ask(`${base()}/${id}`, { method: 'DELETE', ...request });
const stored = async (id: string) => keySchema.parse((await ask(`${base()}/${id}`)).body);
const balances = (key: string) => api.call('/api/v1/balances', { key });
const hold = (key: string, feature = 'generate_leads') =>
  api.call('/api/v1/holds', { key, json: { feature }, headers: { 'Idempotency-Key': randomUUID() } });
const keyWith = (scopes: readonly string[], organizationId = organization.organizationId) =>
  createApiKey(database.superuser, { organizationId, name: 'narrow', scopes });

async function audit(organizationId = organization.organizationId) {
  const { rows } = await database.superuser.query(
    'select a.actor, a.act, a.subject, a.reason, a.changes from tollgate.audit_log a where a.organization_id = $1 order by a.id',
    [organizationId],
  );
  return rows;
}

/** Cut to what differs from request to request. */
const shapeOf = ({ status, headers, body }: Reply) => ({
  status,
  body: { ...body, requestId: 'ID' },
  headers: [...headers]
    .filter(([name]) => name !== 'date' && name !== 'x-request-id')
    .map(([name, value]) => [name, name === 'ratelimit' ? '' : value]),
});

describe('making a key', () => {
  it('the line of docs/guides/KEYS.md makes one, and its examples of a limit and of settings are taken', async () => {
    const guide = await readFile(new URL('../../docs/guides/KEYS.md', import.meta.url), 'utf8');
    const [[, line]] = [...guide.matchAll(/```sh\n(.*?)```/gs)] as [RegExpMatchArray];
    const { stdout } = await promisify(execFile)('sh', ['-euc', line!], {
      env: {
        ...process.env,
        ...{ TOLLGATE_URL: api.url, TOLLGATE_KEY: organization.secret, ORGANIZATION_ID: organization.organizationId },
      },
    });
    const { id } = createdKey.parse(JSON.parse(stdout));
    const example = (path: string) =>
      JSON.parse(new RegExp(`…/${path}\` \`(\\{.*?\\})\``).exec(guide)![1]!.replace('key:ID', `key:${id}`));
    const root = `/api/v1/organizations/${organization.organizationId}`;
    expect(await ask(`${root}/limits`, { method: 'PUT', json: example('limits') })).toMatchObject({ status: 200 });
    const settings = await ask(`${root}/settings`, { method: 'PATCH', json: example('settings') });
    expect(settings).toMatchObject({ status: 200, body: { captureAboveHold: 'draw' } });
  });

  it('answers its secret this once; it works for its scopes and no others', async () => {
    const reply = await create({ name: 'shop', scopes: ['tokens:read'] });
    expect(reply.status).toBe(201);
    const { secret, ...key } = createdKey.parse(reply.body);
    expect(secret).toMatch(/^tg_live_[\w-]{43}$/);
    expect(reply.headers.get('location')).toBe(`${base()}/${key.id}`);
    expect(key).toMatchObject({ name: 'shop', mode: 'live', prefix: secret.slice(0, 12), scopes: ['tokens:read'] });
    expect(key).toMatchObject({ expiresAt: null, revokedAt: null, lastUsedAt: null, replacedBy: null });
    expect((await balances(secret)).status).toBe(200);
    expectProblem(await hold(secret), 'scope_missing');
    for (const { text } of [await ask(base()), await ask(`${base()}/${key.id}`)]) expect(text).not.toContain(secret);
    expect(JSON.stringify(api.logLines)).not.toContain(secret);
  });

  it('a test organization gets keys that say so, and is never given a live one', async () => {
    await database.superuser.query('insert into tollgate.test_organizations (organization_id) values ($1)', [
      organization.organizationId,
    ]);
    expect((await create()).body).toMatchObject({ mode: 'test', secret: expect.stringMatching(/^tg_test_/) });
    expect((await keyWith(['tokens:read'])).secret).toMatch(/^tg_test_/);
    await expect(
      asOwner(database, `select tollgate.create_api_key('k', $1, 'n', sha256('k'), 'tg_live_abcd', '{tokens:read}')`, [
        organization.organizationId,
      ]),
    ).rejects.toThrow('begins with tg_test_');
  });

  it('hands on only scopes that the key that asks has itself', async () => {
    const narrow = await keyWith(['organization:write', 'tokens:read']);
    const refused = await create({ name: 'x', scopes: ['tokens:read', 'jobs:write'] }, { key: narrow.secret });
    expect(expectProblem(refused, 'scope_missing').scope).toBe('jobs:write');
    expect((await create({ name: 'x', scopes: ['tokens:read'] }, { key: narrow.secret })).status).toBe(201);
  });

  it('ends when the key that asks does, at the latest', async () => {
    const [soon, later] = [1, 2].map((hours) => new Date(Date.now() + hours * 3_600_000).toISOString());
    const made = createdKey.parse((await create({ name: 'a', scopes: KEY_SCOPES, expiresAt: soon })).body);
    const json = { name: 'b', scopes: ['tokens:read'] };
    const late = await create({ ...json, expiresAt: later }, { key: made.secret });
    expect(expectProblem(late, 'invalid_request').errors).toMatchObject([{ path: 'expiresAt' }]);
    const child = createdKey.parse((await create(json, { key: made.secret })).body);
    expect(new Date(child.expiresAt!).toISOString()).toBe(soon);
    expectProblem(await create({ ...json, expiresAt: '2020-01-01T00:00:00Z' }), 'invalid_request');
  });

  it.each([
    {},
    { name: ' ', scopes: ['tokens:read'] },
    { name: 'x', scopes: [] },
    { name: 'x', scopes: ['tokens:read', 'tokens:read'] },
    { name: 'x', scopes: ['everything'] },
    { name: 'x', scopes: ['tokens:read'], expiresAt: 'tomorrow' },
    { name: 'x', scopes: ['tokens:read'], expiresAt: '0000-01-01T00:00:00Z' },
    { name: 'x', scopes: ['tokens:read'], expiresAt: '9999-12-31T23:59:59.9999999Z' },
    { name: 'x', scopes: ['tokens:read'], expiresAt: `2099-01-01T00:00:00.${'1'.repeat(300)}Z` },
    { name: 'x', scopes: ['tokens:read'], secret: 'mine' },
  ])('refuses %j', async (json) => {
    expectProblem(await create(json), 'invalid_request');
  });

  it('is written to the audit log with who, what and an operator’s reason; what was refused is not', async () => {
    const { id } = (await create()).body;
    expectProblem(await create({ name: 'x', scopes: ['tokens:read'] }, { key: other.secret }), 'not_your_organization');
    const byOperator = await api.call(base(), { json: { name: 'o', scopes: ['jobs:read'] }, headers: operator });
    expect(byOperator.status).toBe(201);
    expect(await audit()).toMatchObject([
      {
        actor: organization.principal,
        act: 'createKey',
        subject: `key:${id}`,
        reason: null,
        changes: { name: 'shop' },
      },
      { actor: expect.stringMatching(/^operator:/), act: 'createKey', reason: 'ticket 7' },
    ]);
  });
});

describe('who may', () => {
  it('admins manage keys, members do not, and nobody those of another organization', async () => {
    const { organizationId } = organization;
    const users = ['admin', 'member'].map((role) => `${role}-${organizationId}`);
    for (const user of users) {
      await database.superuser.query(
        'insert into user_profiles (id, organization_id, role) values ($1, $2, split_part($1, $3, 1))',
        [user, organizationId, '-'],
      );
    }
    const [admin, member] = users;
    const { id } = (await create({ name: 'a', scopes: ['jobs:read'] }, { key: admin! })).body;
    expect((await ask(base(), { key: admin! })).status).toBe(200);
    for (const reply of [
      await create(undefined, { key: member! }),
      await ask(base(), { key: member! }),
      await rotate(id, 0, { key: member! }),
      await revoke(id, { key: member! }),
    ]) {
      expectProblem(reply, 'admins_only');
    }
    for (const reply of [
      await revoke(id, { key: other.secret }),
      await ask(`${base()}/${id}`, { key: other.secret }),
    ]) {
      expectProblem(reply, 'not_your_organization');
    }
    // Through its own address either: to the other organization there is no such key.
    for (const request of [{}, { method: 'DELETE' }, { json: {} }]) {
      const path = `${base(other.organizationId)}/${id}${'json' in request ? '/rotate' : ''}`;
      expectProblem(await api.call(path, { key: other.secret, ...request }), 'key_not_found');
    }
    expect(await stored(id)).toMatchObject({ revokedAt: null, replacedBy: null });
  });

  it('a key needs the scope: to read, organization:read; to write, organization:write, in SQL too', async () => {
    const reader = await keyWith(['organization:read']);
    expect((await ask(base(), { key: reader.secret })).status).toBe(200);
    expectProblem(await create(undefined, { key: reader.secret }), 'scope_missing');
    const { rows } = await database.api.query(
      `select k.outcome from tollgate.create_key($1, $2, 'k', 'n', sha256('k'), 'tg_live_abcd', '{jobs:read}', null, null, null) k`,
      [`key:${reader.id}`, organization.organizationId],
    );
    expect(rows).toEqual([{ outcome: 'not_an_admin' }]);
  });
});

it('the list shows every key in pages, the newest first, and when each was last used', async () => {
  const made = [];
  for (const name of ['a', 'b', 'c']) made.push((await create({ name, scopes: ['tokens:read'] })).body);
  await balances(made[1].secret);
  await api.keyUse.flush();
  const first = keyList.parse((await ask(`${base()}?limit=2`)).body);
  expect(first.keys.map(({ name }) => name)).toEqual(['c', 'b']);
  expect(first.keys.map(({ lastUsedAt }) => lastUsedAt !== null)).toEqual([false, true]);
  expect(Math.abs(Date.now() - Date.parse(first.keys[1]!.lastUsedAt!))).toBeLessThan(60_000);
  const second = keyList.parse((await ask(`${base()}?limit=2&cursor=${first.nextCursor}`)).body);
  expect(second).toMatchObject({ keys: [{ name: 'a' }, { name: 'test' }], nextCursor: null });
  expectProblem(await ask(`${base()}?cursor=${first.nextCursor}x`), 'invalid_request');
  const foreign = await api.call(`${base(other.organizationId)}?cursor=${first.nextCursor}`, { key: other.secret });
  expectProblem(foreign, 'invalid_request');
});

describe('rotation', () => {
  it('makes a successor with name, scopes and limits, and lets the old one work until the overlap is over', async () => {
    const old = createdKey.parse((await create()).body);
    await asOwner(database, `select tollgate.set_sub_limit($1, 'lead_generation', 'key', $2, 'day', 5)`, [
      organization.organizationId,
      `key:${old.id}`,
    ]);
    const reply = await rotate(old.id, 3_600);
    expect(reply.status).toBe(201);
    const successor = rotatedKey.parse(reply.body);
    expect(successor).toMatchObject({ name: 'shop', scopes: old.scopes, expiresAt: null, replaces: { id: old.id } });
    expect(successor.secret).not.toBe(old.secret);
    expect(await stored(old.id)).toMatchObject({ replacedBy: successor.id, expiresAt: successor.replaces.expiresAt });
    expect(Date.parse(successor.replaces.expiresAt!) - Date.now()).toBeLessThanOrEqual(3_600_000);
    for (const { secret } of [old, successor]) {
      expect((await hold(secret)).status).toBe(201);
      expectProblem(await hold(secret), 'limit_reached');
    }
    await database.superuser.query('update tollgate.api_keys set expires_at = clock_timestamp() where id = $1', [
      old.id,
    ]);
    expectProblem(await hold(old.secret), 'unauthorized');
    expectProblem(await rotate(old.id), 'key_already_ended');
    expect((await balances(successor.secret)).status).toBe(200);
    expect(await audit()).toMatchObject([
      { act: 'createKey' },
      { act: 'rotateKey', subject: `key:${old.id}`, changes: { replacedBy: successor.id } },
    ]);
  });

  it('without overlap the old one stops at once; a successor keeps the end that the key was made with', async () => {
    const end = new Date(Date.now() + 40 * 86_400_000).toISOString();
    const old = (await create({ name: 'a', scopes: ['tokens:read'], expiresAt: end })).body;
    // The second finds the old one shortened by the first, and does not take that for its end.
    for (const overlap of [60, 0]) {
      const { secret, expiresAt } = rotatedKey.parse((await rotate(old.id, overlap)).body);
      expect(new Date(expiresAt!).toISOString()).toBe(end);
      expect((await balances(secret)).status).toBe(200);
    }
    expectProblem(await balances(old.secret), 'unauthorized');
  });

  it('twice in parallel makes one successor each, and the overlap never grows', async () => {
    const old = (await create()).body;
    const replies = await Promise.all([60, 2_592_000, 60, 2_592_000].map((overlap) => rotate(old.id, overlap)));
    expect(replies.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    const ids = replies.map(({ body }) => body.id);
    expect(new Set(ids).size).toBe(4);
    const { expiresAt, replacedBy } = await stored(old.id);
    expect(Date.parse(expiresAt!) - Date.now()).toBeLessThanOrEqual(60_000);
    expect(ids).toContain(replacedBy);
    for (const { body } of replies) expect(body.expiresAt).toBeNull();
  });

  it('a key can rotate itself, many times at once, but nothing with a scope that it lacks', async () => {
    const narrow = await keyWith(['organization:write', 'tokens:read']);
    const all = await create({ name: 'all', scopes: KEY_SCOPES });
    expectProblem(await rotate(all.body.id, 0, { key: narrow.secret }), 'scope_missing');
    const replies = await Promise.all([1, 2, 3, 4].map(() => rotate(narrow.id, 60, { key: narrow.secret })));
    expect(replies.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    // In its overlap it gives away at most what is left of that.
    const end = Date.parse((await stored(narrow.id)).expiresAt!);
    const last = rotatedKey.parse((await rotate(narrow.id, 60, { key: narrow.secret })).body);
    expect(Date.parse(last.expiresAt!)).toBe(end);
  });

  it.each([-1, 1.5, 2_592_001, '60'])('refuses an overlap of %j', async (overlapSeconds) => {
    expectProblem(await ask(`${base()}/none/rotate`, { json: { overlapSeconds } }), 'invalid_request');
  });
});

describe('revocation', () => {
  it('is at once: of 50 parallel holds none is admitted that began after its answer', async () => {
    const { id, secret } = (await create()).body;
    const before = Array.from({ length: 50 }, () => hold(secret));
    const revoked = revoke(id).then((reply) => {
      expect(keySchema.parse(reply.body).revokedAt).not.toBeNull();
      return Promise.all(Array.from({ length: 50 }, () => hold(secret)));
    });
    for (const reply of await revoked) expectProblem(reply, 'unauthorized');
    const early = await Promise.all(before);
    const admitted = early.filter(({ status }) => status === 201).length;
    // Whoever came in before and was not admitted was told why: his key was taken in mid-request, or at the door.
    expect(early.every(({ status }) => [201, 401, 403].includes(status))).toBe(true);
    const { held } = await balanceOf(database.superuser, organization.organizationId, 'lead_generation');
    expect(held).toBe(5 * admitted);
  });

  it('a repeat answers the same and is no second act; a successor lives on', async () => {
    const old = (await create()).body;
    const successor = (await rotate(old.id, 60)).body;
    const [first, second] = [await revoke(old.id), await revoke(old.id)];
    expect(second.body).toEqual(first.body);
    expect((await audit()).map(({ act }) => act)).toEqual(['createKey', 'rotateKey', 'revokeKey']);
    expectProblem(await rotate(old.id), 'key_already_ended');
    expectProblem(await balances(old.secret), 'unauthorized');
    expect((await balances(successor.secret)).status).toBe(200);
    expectProblem(await revoke('none'), 'key_not_found');
    expectProblem(await revoke("x' or true --"), 'key_not_found');
  });

  it('of a key that is making another waits for it, or keeps it from being made', async () => {
    const admin = await keyWith(['organization:write', 'tokens:read']);
    const client = await database.superuser.connect();
    await client.query('begin');
    await client.query('update tollgate.api_keys set revoked_at = clock_timestamp() where id = $1', [admin.id]);
    const made = database.api.query(
      `select k.outcome from tollgate.create_key($1, $2, $3, 'n', sha256('m'), 'tg_live_abcd', '{tokens:read}', null, null, null) k`,
      [`key:${admin.id}`, organization.organizationId, randomUUID()],
    );
    await expect.poll(waiting, { interval: 20 }).toBe(1);
    await client.query('commit');
    client.release();
    expect((await made).rows).toEqual([{ outcome: 'not_an_admin' }]);
  });

  async function waiting(): Promise<number> {
    const { rows } = await database.superuser.query(
      `select count(*)::int as count from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return rows[0].count;
  }
});

describe('S9: guessing', () => {
  it('unknown, revoked and expired keys are answered alike, and what cannot be a key asks the database nothing', async () => {
    const { id, secret } = (await create()).body;
    const expired = (await create()).body;
    await revoke(id);
    await database.superuser.query('update tollgate.api_keys set expires_at = clock_timestamp() where id = $1', [
      expired.id,
    ]);
    const unknown = `tg_live_${'A'.repeat(43)}`;
    const replies = [];
    for (const guess of [unknown, secret, expired.secret, 'tg_live_short', 'tg_prod_x'])
      replies.push(await balances(guess));
    expectProblem(replies[0]!, 'unauthorized');
    for (const reply of replies) expect(shapeOf(reply)).toEqual(shapeOf(replies[0]!));

    let queries = 0;
    const { query } = api.pool;
    api.pool.query = ((...words: Parameters<typeof query>) => {
      queries += 1;
      return query.apply(api.pool, words);
    }) as typeof query;
    try {
      for (const guess of ['tg_', 'tg_live_', `${unknown}A`, `tg_live_${'é'.repeat(43)}`, 'tg_op_x']) {
        expect(
          (await api.call('/api/v1/balances', { headers: { Authorization: `Bearer ${encodeURI(guess)}` } })).status,
        ).toBe(401);
      }
      expect(queries).toBe(0);
      await balances(unknown);
      expect(queries).toBe(1);
    } finally {
      api.pool.query = query;
    }
  });
});
