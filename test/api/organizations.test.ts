import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { organizationList, organization as organizationSchema } from '../../contract/organizations.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { revokeOperator } from '../../db/operators.ts';
import { TOKEN_LIMITS } from '../../domain/catalog.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { addProfile, type People, startOperator, startPeople } from './people.ts';
import { type Ask, expectProblem, startTestApi, type TestApi } from './testApi.ts';

const ORGANIZATIONS = '/api/v1/organizations';

let database: TestDatabase;
let people: People;
let api: TestApi;
let operator: Awaited<ReturnType<typeof startOperator>>;
beforeAll(async () => {
  [database, people] = await Promise.all([freshDatabase(), startPeople()]);
  api = await startTestApi(database, { sessions: people.sessions });
  operator = await startOperator(database, api);
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await people.stop();
  await database.drop();
});

const make = (
  json: object,
  key: string = randomUUID(),
  by: (path: string, ask: Ask) => ReturnType<TestApi['call']> = operator.call,
) => by(ORGANIZATIONS, { json, headers: { 'Idempotency-Key': key } });
const auditOf = async (organizationId: string) =>
  (
    await database.superuser.query(
      'select actor, act, subject, reason, changes, request_id from tollgate.audit_log where organization_id = $1 order by id',
      [organizationId],
    )
  ).rows;

describe('POST /api/v1/organizations', () => {
  test('makes an organization with its allowance, its calendar and its audit row', async () => {
    const reply = await make({ id: 'acme', name: 'Acme', plan: 'pro', timeZone: 'Europe/Berlin' });
    expect(reply.status, reply.text).toBe(201);
    const made = organizationSchema.parse(reply.body);
    expect(made).toMatchObject({ id: 'acme', name: 'Acme', plan: 'pro', mode: 'live', timeZone: 'Europe/Berlin' });
    expect(made.suspendedSince).toBeNull();
    expect(Math.abs(Date.parse(made.createdAt!) - Date.now())).toBeLessThan(60_000);
    expect(reply.headers.get('location')).toBe('/api/v1/organizations/acme');
    expect(await balanceOf(database.superuser, 'acme', 'goal_generation')).toMatchObject({
      available: TOKEN_LIMITS.pro.goal_generation,
    });
    expect(await auditOf('acme')).toEqual([
      {
        actor: operator.actor,
        act: 'createOrganization',
        subject: 'acme',
        reason: 'ticket 7',
        changes: { plan: 'pro', mode: 'live', timeZone: 'Europe/Berlin' },
        request_id: reply.headers.get('x-request-id'),
      },
    ]);
    expect((await operator.call(made.links.self)).body).toEqual(made);
  });

  test('counts its months in its own zone from the first one on', async () => {
    // Whether a month ends elsewhere by it depends on today's date; so a trigger notes which zone the first period was counted in.
    await database.superuser.query(`
      create table zones_seen (zone text);
      create function note_zone() returns trigger language plpgsql security definer as $$ begin
        insert into public.zones_seen select c.time_zone from tollgate.billing_cycles c where c.organization_id = new.organization_id;
        return null;
      end $$;
      create trigger note_zone after insert on tollgate.balances for each row execute function note_zone()`);
    await make({ id: 'zoned', name: 'Zoned', plan: 'pro', timeZone: 'America/New_York' });
    const { rows } = await database.superuser.query('select distinct zone from zones_seen');
    await database.superuser.query(
      'drop trigger note_zone on tollgate.balances; drop function note_zone; drop table zones_seen',
    );
    expect(rows).toEqual([{ zone: 'America/New_York' }]);
  });

  /** Sends these while nobody can insert an organization, so that all of them stand at it, or wait for one another, at once. */
  async function together(count: number, send: (n: number) => ReturnType<TestApi['call']>) {
    const gate = await database.superuser.connect();
    try {
      await gate.query('begin; lock table public.organizations in share mode');
      const replies = Array.from({ length: count }, (_, n) => send(n));
      await until(async () => {
        const { rows } = await database.superuser.query(
          `select count(*)::int as waiting from pg_stat_activity a where a.datname = current_database() and a.wait_event_type = 'Lock'`,
        );
        return rows[0].waiting === count;
      });
      await gate.query('commit');
      return await Promise.all(replies);
    } finally {
      gate.release();
    }
  }

  test('R4: of 8 equal requests at once one makes it, and all are answered alike', async () => {
    const replies = await together(8, () => make({ name: 'Once' }, 'same'));
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies.filter(({ headers }) => headers.get('idempotent-replayed') === null)).toHaveLength(1);
    const { id } = replies[0]!.body;
    expect(await auditOf(id)).toHaveLength(1);
    expect((await operator.call(`${ORGANIZATIONS}?search=once`)).body.organizations).toHaveLength(1);
  });

  test('R5: of 8 that name other ids under one key at once one makes an organization', async () => {
    const replies = await together(8, (n) => make({ id: `rival-${n}`, name: 'Rival' }, 'rivals'));
    expect(replies.map(({ status }) => status).toSorted()).toEqual([201, ...Array(7).fill(422)]);
    expect((await operator.call(`${ORGANIZATIONS}?search=rival-`)).body.organizations).toHaveLength(1);
  });

  test('R5: the same key with another body is refused, also where it names another id; another operator’s is his own', async () => {
    expect((await make({ id: 'first', name: 'First' }, 'reused')).status).toBe(201);
    expectProblem(await make({ id: 'first', name: 'Second' }, 'reused'), 'idempotency_key_reused');
    expectProblem(await make({ id: 'second', name: 'First' }, 'reused'), 'idempotency_key_reused');
    expectProblem(await operator.call(`${ORGANIZATIONS}/second`), 'organization_not_found');
    const other = await startOperator(database, api);
    expect((await make({ id: 'second', name: 'First' }, 'reused', other.call)).status).toBe(201);
  });

  test('without an id is found again by its key, however its first answer was lost', async () => {
    const first = await make({ name: 'Lost' }, 'lost');
    const again = await make({ name: 'Lost' }, 'lost');
    expect(again.text).toBe(first.text);
    expect(again.headers.get('idempotent-replayed')).toBe('true');
    // Its record may be gone one day: even then no second one is made.
    await database.superuser.query(`delete from tollgate.organization_origins where organization_id = $1`, [
      first.body.id,
    ]);
    expectProblem(await make({ name: 'Lost' }, 'lost'), 'organization_exists');
  });

  test('an id that somebody has is refused, and leaves him as he was', async () => {
    await createOrganization(database.superuser, 'pro', 'taken');
    expectProblem(
      await make({ id: 'taken', name: 'Mine now', plan: 'enterprise', mode: 'test' }),
      'organization_exists',
    );
    expect((await operator.call(`${ORGANIZATIONS}/taken`)).body).toMatchObject({
      name: 'Test taken',
      plan: 'pro',
      mode: 'live',
    });
  });

  test('a refusal leaves nothing behind, and its key free', async () => {
    const { rows: before } = await database.superuser.query('select count(*) from organizations');
    for (const wrong of [
      {},
      { name: '' },
      { name: ' ' },
      { name: 'a\u0007b' },
      { name: 'x'.repeat(201) },
      { name: 'X', id: '' },
      { name: 'X', id: 'a b' },
      { name: 'X', id: 'x'.repeat(65) },
      { name: 'X', plan: 'golden' },
      { name: 'X', mode: 'both' },
      { name: 'X', timeZone: 'Mars/Olympus' },
      { name: 'X', timeZone: '+01:00' },
      { name: 'X', createdAt: '2020-01-01T00:00:00Z' },
    ]) {
      expectProblem(await make(wrong, 'refused'), 'invalid_request');
    }
    expectProblem(await operator.call(ORGANIZATIONS, { json: { name: 'X' } }), 'idempotency_key_missing');
    const { rows: after } = await database.superuser.query('select count(*) from organizations');
    expect(after).toEqual(before);
    expect((await make({ name: 'Right' }, 'refused')).status).toBe(201);
  });

  test('is for operators with a reason: nobody else makes one', async () => {
    const { organizationId, secret } = await createOrganization(database.superuser);
    await addProfile(database, 'boss', organizationId, 'admin');
    const ask = (key: string, headers = {}) =>
      api.call(ORGANIZATIONS, {
        key,
        json: { id: 'stolen', name: 'Stolen' },
        headers: { 'Idempotency-Key': 's', ...headers },
      });
    for (const key of [secret, await people.signIn('boss')]) {
      expectProblem(await ask(key, { 'Tollgate-Reason': 'because' }), 'operators_only');
      expectProblem(await api.call(ORGANIZATIONS, { key }), 'operators_only');
    }
    expectProblem(await ask(operator.credential), 'operator_reason_missing');
    expect(await auditOf('stolen')).toEqual([]);
  });

  test('SQL itself refuses whoever is no operator whose credential works', async () => {
    const revoked = await startOperator(database, api);
    await revokeOperator(database.superuser, revoked.id);
    const { organizationId, principal } = await createOrganization(database.superuser);
    await addProfile(database, 'admin-1', organizationId, 'admin');
    for (const actor of [revoked.actor, principal, 'user:admin-1', 'operator:', 'operator:nobody', '', null]) {
      const { rows } = await database.api.query(
        `select outcome from tollgate.create_organization($1, 'o', 'O', 'pro', 'live', 'UTC', 'why', 'k', '\\x00', null)
         union all select tollgate.record_act($1, $2, 'getOrganization', 'why', null)
         union all select outcome from tollgate.adjust_as_operator($1, $2, 'forecast', 5, 'gift', 'why', 'k', null)
         union all select outcome from tollgate.reverse_as_operator($1, $2, 1, 'why', null)`,
        [actor, organizationId],
      );
      expect(rows, `${actor}`).toEqual(Array(4).fill({ outcome: 'not_an_operator' }));
      for (const list of [
        'list_organizations($1, null, null, 9)',
        'list_acts($1, null, null, null, null, null, null, 9)',
      ])
        expect((await database.api.query(`select from tollgate.${list}`, [actor])).rowCount, `${actor}`).toBe(0);
    }
  });
});

describe('test organizations', () => {
  test('are told apart for good: nobody makes one live', async () => {
    const made = await make({ id: 'trial', name: 'Trial', plan: 'pro', mode: 'test' });
    expect(made.body.mode).toBe('test');
    const { rows } = await database.api.query(
      `select tollgate.mode_of('trial') as trial, tollgate.mode_of('acme') as acme`,
    );
    expect(rows).toEqual([{ trial: 'test', acme: 'live' }]);
    for (const text of [
      'delete from tollgate.test_organizations',
      `update tollgate.test_organizations set organization_id = 'acme'`,
    ])
      await expect(database.superuser.query(text)).rejects.toThrow('append-only');
  });
});

describe('GET /api/v1/organizations', () => {
  test('shows all of them page by page, each once', async () => {
    const { rows } = await database.superuser.query('select id from organizations');
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await operator.call(`${ORGANIZATIONS}?limit=3${cursor === null ? '' : `&cursor=${cursor}`}`);
      expect(page.status, page.text).toBe(200);
      const { organizations, nextCursor } = organizationList.parse(page.body);
      seen.push(...organizations.map(({ id }) => id));
      cursor = nextCursor;
    } while (cursor !== null);
    expect(seen.toSorted()).toEqual(rows.map(({ id }) => id).toSorted());
  });

  test('finds those whose id begins so, or whose name has it; wildcards are letters like others', async () => {
    await make({ id: 'find-1', name: 'Blue Tandems' });
    await make({ id: 'find-2', name: 'Grey 100%' });
    const search = async (text: string) =>
      (await operator.call(`${ORGANIZATIONS}?search=${encodeURIComponent(text)}`)).body.organizations.map(
        ({ id }: { id: string }) => id,
      );
    expect(await search('find-')).toEqual(['find-1', 'find-2']);
    expect(await search('ind-')).toEqual([]);
    expect(await search('TANDE')).toEqual(['find-1']);
    expect(await search('100%')).toEqual(['find-2']);
    expect(await search('%')).toEqual(['find-2']);
  });

  test('a cursor of another list is refused', async () => {
    const { nextCursor } = (await operator.call(`${ORGANIZATIONS}?limit=1`)).body;
    expectProblem(await operator.call(`${ORGANIZATIONS}?limit=1&search=a&cursor=${nextCursor}`), 'invalid_request');
    expectProblem(await operator.call(`${ORGANIZATIONS}?cursor=xyz`), 'invalid_request');
    expectProblem(await operator.call(`${ORGANIZATIONS}?limit=0`), 'invalid_request');
  });
});

describe('an organization', () => {
  test('is read by its members and keys, and by nobody of another', async () => {
    const [ours, theirs] = [await createOrganization(database.superuser), await createOrganization(database.superuser)];
    await addProfile(database, 'reader', ours.organizationId, 'member');
    const path = `${ORGANIZATIONS}/${ours.organizationId}`;
    for (const key of [ours.secret, await people.signIn('reader')]) {
      const reply = await api.call(path, { key });
      expect(reply.status, reply.text).toBe(200);
      expect(organizationSchema.parse(reply.body)).toMatchObject({
        id: ours.organizationId,
        plan: 'pro',
        mode: 'live',
        timeZone: 'UTC',
      });
      for (const foreign of [theirs.organizationId, 'no-such'])
        expectProblem(await api.call(`${ORGANIZATIONS}/${foreign}`, { key }), 'not_your_organization');
    }
    expectProblem(await api.call(path, { key: theirs.secret }), 'not_your_organization');
    for (const unknown of ['no-such', 'a%00b', 'x'.repeat(65), '%F0%9F%9A%B2'])
      expectProblem(await operator.call(`${ORGANIZATIONS}/${unknown}`), 'organization_not_found');
  });

  test('says since when it is suspended, to its own people and in the list of all', async () => {
    const { organizationId, secret } = await createOrganization(database.superuser, 'pro', 'halted');
    const path = `${ORGANIZATIONS}/${organizationId}`;
    const { suspendedSince } = (await operator.call(`${path}/suspend`, { method: 'POST' })).body;
    expect(suspendedSince).toMatch(/Z$/);
    const seen = async () => [
      Date.parse((await api.call(path, { key: secret })).body.suspendedSince),
      Date.parse((await operator.call(`${ORGANIZATIONS}?search=halted`)).body.organizations[0].suspendedSince),
    ];
    expect(await seen()).toEqual([Date.parse(suspendedSince), Date.parse(suspendedSince)]);
    await operator.call(`${path}/resume`, { method: 'POST' });
    expect((await api.call(path, { key: secret })).body.suspendedSince).toBeNull();
  });

  test('is renamed by its admins and by operators; each change is in the audit log with what it was', async () => {
    const { organizationId, secret } = await createOrganization(database.superuser);
    await addProfile(database, `a-${organizationId}`, organizationId, 'admin');
    await addProfile(database, `m-${organizationId}`, organizationId, 'member');
    const path = `${ORGANIZATIONS}/${organizationId}`;
    const rename = (key: string, name: string) => api.call(path, { method: 'PATCH', key, json: { name } });
    expectProblem(await rename(await people.signIn(`m-${organizationId}`), 'Mine'), 'admins_only');
    const reader = await createApiKey(database.superuser, { organizationId, name: 'r', scopes: ['organization:read'] });
    expectProblem(await rename(reader.secret, 'Mine'), 'scope_missing');
    expectProblem(await rename(secret, ''), 'invalid_request');

    expect((await rename(await people.signIn(`a-${organizationId}`), 'One')).body.name).toBe('One');
    expect((await rename(secret, 'One')).status).toBe(200);
    expect((await operator.call(path, { method: 'PATCH', json: { name: 'Two' } })).body.name).toBe('Two');
    expect((await operator.call(path, { method: 'PATCH', json: { name: 'Two' } })).status).toBe(200);
    expectProblem(
      await operator.call(`${ORGANIZATIONS}/no-such`, { method: 'PATCH', json: { name: 'Two' } }),
      'organization_not_found',
    );
    const name = (from: string, to: string) => ({ act: 'renameOrganization', changes: { name: { from, to } } });
    expect(await auditOf(organizationId)).toMatchObject([
      { actor: `user:a-${organizationId}`, reason: null, ...name(`Test ${organizationId}`, 'One') },
      { actor: operator.actor, reason: 'ticket 7', ...name('One', 'Two') },
      { actor: operator.actor, act: 'renameOrganization', changes: {} },
    ]);
  });
});

test('the guide’s lines run one after the other, and do what it says', async () => {
  const guide = await readFile(new URL('../../docs/guides/ORGANIZATIONS.md', import.meta.url), 'utf8');
  const script = [...guide.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!).join('');
  const { stdout } = await promisify(execFile)('sh', ['-euc', script.replaceAll(/^curl/gm, 'echo; curl')], {
    env: { ...process.env, TOLLGATE_URL: api.url, OPERATOR: operator.credential },
  });
  const answers = stdout.split('\n').filter((line) => line !== '');
  expect(answers.map((line) => JSON.parse(line))).toMatchObject([
    { id: 'acme-bicycles', plan: 'pro', mode: 'live', timeZone: 'Europe/Berlin' },
    { organizations: [{ id: 'acme-bicycles' }] },
    { userId: 'ann', role: 'admin' },
    { amount: 10, available: TOKEN_LIMITS.pro.goal_generation + 10, actor: 'operator' },
    { entries: ['listAuditLog', 'adjustBalance', 'setMember', 'createOrganization'].map((act) => ({ act })) },
  ]);
});
