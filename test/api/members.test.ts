import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { memberList, member as memberSchema } from '../../contract/members.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { KEY_SCOPES } from '../../domain/keyScopes.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { addProfile, type People, startOperator, startPeople } from './people.ts';
import { expectProblem, type Reply, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let people: People;
let api: TestApi;
let operator: Awaited<ReturnType<typeof startOperator>>;
let organization: TestOrganization;
/** Ids of users of this organization: an admin, and a member. */
let boss: string;
let hand: string;
beforeAll(async () => {
  [database, people] = await Promise.all([freshDatabase(), startPeople()]);
  api = await startTestApi(database, { sessions: people.sessions });
  operator = await startOperator(database, api);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'starter');
  [boss, hand] = [`boss-${organization.organizationId}`, `hand-${organization.organizationId}`];
  await addProfile(database, boss, organization.organizationId, 'admin');
  await addProfile(database, hand, organization.organizationId, 'member');
});
afterAll(async () => {
  await api.close();
  await people.stop();
  await database.drop();
});

const members = (rest = '') => `/api/v1/organizations/${organization.organizationId}/members${rest}`;
const put = (key: string, userId: string, role: string) =>
  api.call(members(`/${userId}`), { method: 'PUT', key, json: { role } });
const remove = (key: string, userId: string) => api.call(members(`/${userId}`), { method: 'DELETE', key });

async function everybody(): Promise<Record<string, string>> {
  const { rows } = await database.superuser.query(
    'select id, role from user_profiles where organization_id = $1 order by id',
    [organization.organizationId],
  );
  return Object.fromEntries(rows.map(({ id, role }) => [id, role]));
}
async function acts() {
  const { rows } = await database.superuser.query(
    'select actor, act, subject, reason, changes from tollgate.audit_log where organization_id = $1 order by id',
    [organization.organizationId],
  );
  return rows;
}

describe('PUT and DELETE …/members/{userId}', () => {
  test('add, change and remove a member; each is in the audit log once, and a repeat is none', async () => {
    const key = await people.signIn(boss);
    const user = randomUUID();
    const added = await put(key, user, 'member');
    expect(added.status, added.text).toBe(200);
    expect(memberSchema.parse(added.body)).toMatchObject({ userId: user, role: 'member' });
    expect((await put(key, user, 'member')).text).toBe(added.text);
    expect((await put(key, user, 'admin')).body.role).toBe('admin');
    expect(await everybody()).toEqual({ [boss]: 'admin', [hand]: 'member', [user]: 'admin' });
    expect((await api.call('/api/v1/balances', { key: await people.signIn(user) })).status).toBe(200);

    const session = await people.signIn(user);
    expect((await remove(key, user)).status).toBe(204);
    expectProblem(await remove(key, user), 'member_not_found');
    expectProblem(await api.call('/api/v1/balances', { key: session }), 'not_your_organization');
    const subject = `user:${user}`;
    const role = (from: string | null, to: string | null) => ({ changes: { role: { from, to } } });
    expect(await acts()).toEqual([
      { actor: `user:${boss}`, act: 'setMember', subject, reason: null, ...role(null, 'member') },
      { actor: `user:${boss}`, act: 'setMember', subject, reason: null, ...role('member', 'admin') },
      { actor: `user:${boss}`, act: 'removeMember', subject, reason: null, ...role('admin', null) },
    ]);
  });

  test('are for admins, keys with organization:write and operators alone', async () => {
    const { organizationId } = organization;
    const reader = await createApiKey(database.superuser, { organizationId, name: 'r', scopes: ['organization:read'] });
    const other = await createOrganization(database.superuser);
    await addProfile(database, `chief-${organizationId}`, other.organizationId, 'admin');
    const before = await everybody();
    for (const [key, problem] of [
      [await people.signIn(hand), 'admins_only'],
      [reader.secret, 'scope_missing'],
      [other.secret, 'not_your_organization'],
      [await people.signIn(`chief-${organizationId}`), 'not_your_organization'],
      [operator.credential, 'operator_reason_missing'],
    ] as const) {
      // Himself among them: nobody makes himself an admin.
      expectProblem(await put(key, hand, 'admin'), problem);
      expectProblem(await put(key, randomUUID(), 'admin'), problem);
      expectProblem(await remove(key, boss), problem);
    }
    expect(await everybody()).toEqual(before);
    expect(await acts()).toEqual([]);
    expect((await put(organization.secret, hand, 'admin')).status).toBe(200);
    expect((await operator.call(members(`/${hand}`), { method: 'DELETE' })).status).toBe(204);
    expect(await acts()).toMatchObject([
      { actor: organization.principal, reason: null },
      { actor: operator.actor, reason: 'ticket 7' },
    ]);
  });

  test('a key makes an admin only with every scope and no end: else it could take scopes, or outlive itself, through him', async () => {
    const { organizationId } = organization;
    const lesser = await Promise.all(
      KEY_SCOPES.filter((scope) => scope !== 'organization:write').map((lacking) =>
        createApiKey(database.superuser, {
          ...{ organizationId, name: `all but ${lacking}` },
          scopes: KEY_SCOPES.filter((scope) => scope !== lacking),
        }),
      ),
    );
    const made = await api.call(`/api/v1/organizations/${organizationId}/keys`, {
      key: organization.secret,
      json: { name: 'ends', scopes: KEY_SCOPES, expiresAt: new Date(Date.now() + 3_600_000).toISOString() },
    });
    for (const { secret } of [...lesser, { secret: made.body.secret }]) {
      expectProblem(await put(secret, hand, 'admin'), 'key_below_admin');
      expectProblem(await put(secret, randomUUID(), 'admin'), 'key_below_admin');
      expect((await put(secret, hand, 'member')).status).toBe(200);
    }
    expect(await everybody()).toEqual({ [boss]: 'admin', [hand]: 'member' });
    expect((await put(organization.secret, hand, 'admin')).status).toBe(200);
  });

  test('SQL itself refuses whoever does not administer, whatever the API let through', async () => {
    const other = await createOrganization(database.superuser);
    const { organizationId } = organization;
    const reader = await createApiKey(database.superuser, { organizationId, name: 'r', scopes: ['tokens:write'] });
    for (const actor of [
      `user:${hand}`,
      'user:nobody',
      other.principal,
      `key:${reader.id}`,
      'operator:nobody',
      '',
      null,
    ]) {
      const { rows } = await database.api.query(
        `select tollgate.set_member($1, $2, 'x', 'admin', 'why', null) as outcome
         union all select tollgate.remove_member($1, $2, $3, 'why', null)
         union all select tollgate.rename_organization($1, $2, 'X', 'why', null)`,
        [actor, organizationId, hand],
      );
      expect(rows, `${actor}`).toEqual(Array(3).fill({ outcome: 'not_an_admin' }));
    }
    expect(await everybody()).toEqual({ [boss]: 'admin', [hand]: 'member' });
  });

  test('a user of another organization is not taken, nor is it told which', async () => {
    const other = await createOrganization(database.superuser);
    const theirs = `theirs-${organization.organizationId}`;
    await addProfile(database, theirs, other.organizationId, 'member');
    for (const reply of [
      await put(organization.secret, theirs, 'member'),
      await operator.call(members(`/${theirs}`), { method: 'PUT', json: { role: 'admin' } }),
    ]) {
      expectProblem(reply, 'member_elsewhere');
      expect(reply.text).not.toContain(other.organizationId);
    }
    expectProblem(await remove(organization.secret, theirs), 'member_not_found');
    const { rows } = await database.superuser.query('select organization_id, role from user_profiles where id = $1', [
      theirs,
    ]);
    expect(rows).toEqual([{ organization_id: other.organizationId, role: 'member' }]);
  });

  test('refuse what is no role and no id', async () => {
    for (const json of [{}, { role: 'owner' }, { role: 'admin', organizationId: 'x' }, { role: null }, []])
      expectProblem(
        await api.call(members('/x'), { method: 'PUT', key: organization.secret, json }),
        'invalid_request',
      );
    for (const id of ['a%20b', 'a%00b', 'x'.repeat(65)]) {
      expectProblem(await put(organization.secret, id, 'member'), 'invalid_request');
      expectProblem(await remove(organization.secret, id), 'member_not_found');
    }
    const unknown = '/api/v1/organizations/no-such/members/x';
    expectProblem(await operator.call(unknown, { method: 'PUT', json: { role: 'member' } }), 'organization_not_found');
    expectProblem(await operator.call(unknown, { method: 'DELETE' }), 'organization_not_found');
  });
});

describe('the last admin', () => {
  test('is neither removed nor made a member, by himself or by a key; an operator may', async () => {
    for (const key of [await people.signIn(boss), organization.secret]) {
      expectProblem(await remove(key, boss), 'last_admin');
      expectProblem(await put(key, boss, 'member'), 'last_admin');
    }
    expect(await everybody()).toEqual({ [boss]: 'admin', [hand]: 'member' });
    expect(await acts()).toEqual([]);
    expect((await operator.call(members(`/${boss}`), { method: 'PUT', json: { role: 'member' } })).status).toBe(200);
    expect((await operator.call(members(`/${boss}`), { method: 'DELETE' })).status).toBe(204);
  });

  test('stays, of 20 admins whom a key removes or demotes at once', async () => {
    const admins = Array.from({ length: 20 }, (_, n) => `admin-${n}-${organization.organizationId}`);
    for (const admin of admins) await addProfile(database, admin, organization.organizationId, 'admin');
    const replies = await Promise.all(
      [boss, ...admins].map((admin, n) =>
        n % 2 ? remove(organization.secret, admin) : put(organization.secret, admin, 'member'),
      ),
    );
    expect(statuses(replies)).toEqual({ ok: 20, last_admin: 1 });
    expect(Object.values(await everybody()).filter((role) => role === 'admin')).toHaveLength(1);
    expect(await acts()).toHaveLength(20);
  });

  test('stays, of two who are demoted at the same moment', async () => {
    const second = `second-${organization.organizationId}`;
    await addProfile(database, second, organization.organizationId, 'admin');
    // Both stand behind their decision, or one of them before it, until the audit log can be written again.
    const gate = await database.superuser.connect();
    await gate.query('begin; lock table tollgate.audit_log in share row exclusive mode');
    const replies = Promise.all([boss, second].map((admin) => put(organization.secret, admin, 'member')));
    await until(async () => {
      const { rows } = await database.superuser.query(
        `select count(*)::int as standing from pg_stat_activity a
          where a.datname = current_database() and a.wait_event_type = 'Lock' and a.query like '%set_member%'`,
      );
      return rows[0].standing === 2;
    });
    await gate.query('commit');
    gate.release();
    expect(statuses(await replies)).toEqual({ ok: 1, last_admin: 1 });
    expect(Object.values(await everybody()).filter((role) => role === 'admin')).toHaveLength(1);
  });

  test('stays, of 20 admins who remove each other at once: who is out acts no more', async () => {
    const admins = Array.from({ length: 20 }, (_, n) => `ring-${n}-${organization.organizationId}`);
    for (const admin of admins) await addProfile(database, admin, organization.organizationId, 'admin');
    await database.superuser.query('delete from user_profiles where id = $1', [boss]);
    const sessions = await Promise.all(admins.map((admin) => people.signIn(admin)));
    const replies = await Promise.all(admins.map((_, n) => remove(sessions[n]!, admins[(n + 1) % admins.length]!)));
    const { ok = 0 } = statuses(replies);
    const left = Object.values(await everybody()).filter((role) => role === 'admin');
    expect(left).toHaveLength(20 - ok);
    expect(left.length).toBeGreaterThanOrEqual(1);
    const done = await acts();
    expect(done).toHaveLength(ok);
    // In the order in which they were decided nobody acts after he was removed.
    const gone = new Set<string>();
    for (const { actor, subject } of done) {
      expect(gone.has(actor)).toBe(false);
      gone.add(subject);
    }
  });

  test('a user whom two organizations add at once belongs to one of them', async () => {
    const other = await createOrganization(database.superuser);
    const users = Array.from({ length: 10 }, () => randomUUID());
    const replies = await Promise.all(
      users.flatMap((user) => [
        put(organization.secret, user, 'admin'),
        api.call(`/api/v1/organizations/${other.organizationId}/members/${user}`, {
          ...{ method: 'PUT', key: other.secret, json: { role: 'member' } },
        }),
      ]),
    );
    expect(statuses(replies)).toEqual({ ok: 10, member_elsewhere: 10 });
  });
});

describe('GET …/members', () => {
  test('shows them page by page to members, keys and operators, and nobody of another organization', async () => {
    for (let n = 0; n < 5; n++)
      await addProfile(database, `more-${n}-${organization.organizationId}`, organization.organizationId, 'member');
    const key = await people.signIn(hand);
    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const page = await api.call(members(`?limit=3${cursor === null ? '' : `&cursor=${cursor}`}`), { key });
      expect(page.status, page.text).toBe(200);
      const list = memberList.parse(page.body);
      seen.push(...list.members.map(({ userId }) => userId));
      cursor = list.nextCursor;
    } while (cursor !== null);
    expect(seen.toSorted()).toEqual(Object.keys(await everybody()).toSorted());
    expect(new Set(seen).size).toBe(7);
    expect((await api.call(members(), { key: organization.secret })).body.members).toHaveLength(7);
    expect((await operator.call(members())).body.members).toHaveLength(7);
    const other = await createOrganization(database.superuser);
    expectProblem(await api.call(members(), { key: other.secret }), 'not_your_organization');
    expectProblem(await operator.call('/api/v1/organizations/no-such/members'), 'organization_not_found');
    const { nextCursor } = (await api.call(members('?limit=1'), { key })).body;
    expectProblem(
      await api.call(`/api/v1/organizations/${other.organizationId}/members?cursor=${nextCursor}`, {
        key: other.secret,
      }),
      'invalid_request',
    );
  });
});

function statuses(replies: readonly Reply[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, body } of replies) {
    const name = status < 300 ? 'ok' : body.code;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}
