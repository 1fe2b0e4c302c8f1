import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AuditEntry, auditPage } from '../../contract/auditLog.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { revokeOperator } from '../../db/operators.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { addProfile, type People, startOperator, startPeople } from './people.ts';
import { expectProblem, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let people: People;
let api: TestApi;
let operator: Awaited<ReturnType<typeof startOperator>>;
let ours: TestOrganization;
let theirs: TestOrganization;
beforeAll(async () => {
  [database, people] = await Promise.all([freshDatabase(), startPeople()]);
  api = await startTestApi(database, { sessions: people.sessions });
  operator = await startOperator(database, api, 'ticket 7: he asked');
  ours = await createOrganization(database.superuser, 'pro', 'ours');
  theirs = await createOrganization(database.superuser, 'pro', 'theirs');
  await addProfile(database, 'boss', 'ours', 'admin');
  await addProfile(database, 'hand', 'ours', 'member');
  await addProfile(database, 'chief', 'theirs', 'admin');
  for (const { organizationId, secret } of [ours, theirs]) {
    for (const role of ['member', 'admin', 'member'])
      await api.call(`/api/v1/organizations/${organizationId}/members/${organizationId}-user`, {
        ...{ method: 'PUT', key: secret, json: { role } },
      });
  }
});
afterAll(async () => {
  await api.close();
  await people.stop();
  await database.drop();
});

const ofOurs = '/api/v1/organizations/ours/audit';
async function entriesOf(reply: ReturnType<TestApi['call']>): Promise<AuditEntry[]> {
  const { status, text, body } = await reply;
  expect(status, text).toBe(200);
  return auditPage.parse(body).entries;
}

describe('what an operator reads', () => {
  test('is in the audit log before he is answered, with his reason', async () => {
    const paths = ['', '/members', '/audit', '/adjustments'].map((path) => `/api/v1/organizations/theirs${path}`);
    for (const path of [...paths, '/api/v1/audit?organizationId=theirs'])
      expect((await operator.call(path)).status).toBe(200);
    const acts = (await entriesOf(operator.call('/api/v1/audit?organizationId=theirs&limit=6'))).map(
      ({ act, actor, organizationId, reason }) => ({ act, actor, organizationId, reason }),
    );
    // The last one is the reading of this very list.
    expect(acts).toEqual(
      [
        ...['getOrganization', 'listMembers', 'listOrganizationAuditLog', 'listAdjustments', 'listAuditLog'],
        'listAuditLog',
      ]
        .toReversed()
        .map((act) => ({ act, actor: operator.actor, organizationId: 'theirs', reason: 'ticket 7: he asked' })),
    );
    await operator.call('/api/v1/organizations');
    const [last] = await entriesOf(operator.call('/api/v1/audit?act=listOrganizations'));
    expect(last).toMatchObject({ actor: operator.actor, organizationId: null });
  });

  test('is not answered to one who was revoked meanwhile, and members’ reading is no act', async () => {
    const { rows: before } = await database.superuser.query('select count(*) from tollgate.audit_log');
    await api.call('/api/v1/organizations/ours', { key: ours.secret });
    await api.call(ofOurs, { key: await people.signIn('boss') });
    const revoked = await startOperator(database, api);
    await revokeOperator(database.superuser, revoked.id);
    expectProblem(await revoked.call('/api/v1/organizations/ours'), 'unauthorized');
    expectProblem(await operator.call('/api/v1/organizations/no-such/audit'), 'organization_not_found');
    expectProblem(await operator.call('/api/v1/audit?organizationId=no-such'), 'organization_not_found');
    const { rows: after } = await database.superuser.query('select count(*) from tollgate.audit_log');
    expect(after).toEqual(before);
  });
});

describe('GET /api/v1/organizations/{organizationId}/audit', () => {
  test('shows admins what was done and read, of operators the reason and not who', async () => {
    await operator.call('/api/v1/organizations/ours');
    for (const key of [ours.secret, await people.signIn('boss')]) {
      const reply = api.call(ofOurs, { key });
      const entries = await entriesOf(reply);
      expect(entries.slice(0, 4)).toMatchObject([
        { act: 'getOrganization', actor: 'operator', reason: 'ticket 7: he asked', organizationId: 'ours' },
        {
          act: 'setMember',
          actor: ours.principal,
          subject: 'user:ours-user',
          changes: { role: { from: 'admin', to: 'member' } },
        },
        { act: 'setMember', changes: { role: { from: 'member', to: 'admin' } } },
        { act: 'setMember', changes: { role: { from: null, to: 'member' } } },
      ]);
      expect((await reply).text).not.toContain(operator.id);
      expect(entries.every(({ organizationId }) => organizationId === 'ours')).toBe(true);
    }
    expect((await entriesOf(operator.call(ofOurs)))[0]).toMatchObject({ actor: operator.actor });
  });

  test('does not tell by a filter which operator it was', async () => {
    const filtered = (actor: string) => entriesOf(api.call(`${ofOurs}?actor=${actor}`, { key: ours.secret }));
    expect(await filtered(operator.actor)).toEqual([]);
    expect((await filtered('operator')).length).toBeGreaterThan(0);
    expect((await filtered(ours.principal)).length).toBe(3);
  });

  test('is for admins and keys that read organizations, each their own', async () => {
    expectProblem(await api.call(ofOurs, { key: await people.signIn('hand') }), 'admins_only');
    expectProblem(await api.call(ofOurs, { key: theirs.secret }), 'not_your_organization');
    const key = { organizationId: 'ours', name: 'k' };
    const writer = await createApiKey(database.superuser, { ...key, scopes: ['organization:write'] });
    expectProblem(await api.call(ofOurs, { key: writer.secret }), 'scope_missing');
    const reader = await createApiKey(database.superuser, { ...key, scopes: ['organization:read'] });
    expect((await entriesOf(api.call(ofOurs, { key: reader.secret }))).length).toBeGreaterThan(0);
    for (const key of [ours.secret, await people.signIn('boss')])
      expectProblem(await api.call('/api/v1/audit', { key }), 'operators_only');
    expectProblem(await api.call('/api/v1/audit', { key: operator.credential }), 'operator_reason_missing');
  });
});

describe('a list of acts', () => {
  test('is narrowed by organization, actor, act and time', async () => {
    const all = (query: string) => entriesOf(operator.call(`/api/v1/audit?${query}`));
    expect((await all('organizationId=theirs&act=setMember')).map(({ organizationId }) => organizationId)).toEqual(
      Array(3).fill('theirs'),
    );
    expect((await all(`actor=${ours.principal}`)).map(({ actor }) => actor)).toEqual(Array(3).fill(ours.principal));
    const [last, middle, first] = await all('act=setMember&organizationId=ours');
    expect(await all(`act=setMember&organizationId=ours&from=${middle!.at}`)).toEqual([last, middle]);
    expect(await all(`act=setMember&organizationId=ours&to=${middle!.at}`)).toEqual([first]);
    expect(await all(`act=setMember&organizationId=ours&from=${middle!.at}&to=${last!.at}`)).toEqual([middle]);
  });

  test('is paged without gaps or repeats while more is written', async () => {
    for (const [list, count] of [
      ['/api/v1/audit?act=setMember', 6],
      ['/api/v1/organizations/theirs/audit?act=setMember', 6],
    ] as const) {
      const wanted = (await entriesOf(operator.call(list))).map(({ id }) => id);
      expect(wanted.length).toBeGreaterThanOrEqual(count);
      const seen: number[] = [];
      let cursor: string | null = null;
      do {
        const reply = await operator.call(`${list}&limit=2${cursor === null ? '' : `&cursor=${cursor}`}`);
        const page = auditPage.parse(reply.body);
        seen.push(...page.entries.map(({ id }) => id));
        cursor = page.nextCursor;
        const more = `/api/v1/organizations/theirs/members/${randomUUID()}`;
        await api.call(more, { method: 'PUT', key: theirs.secret, json: { role: 'member' } });
      } while (cursor !== null);
      expect(seen).toEqual(wanted);
    }
  });

  test('refuses what is none of its filters, and cursors of other lists', async () => {
    for (const query of [
      'actor=ann',
      'actor=user:',
      'act=1',
      'from=yesterday',
      'to=0000-01-01T00:00:00Z',
      `from=2026-01-01T00:00:00.${'1'.repeat(300)}Z`,
      'limit=201',
      'who=x',
      'cursor=x',
      'organizationId=a%20b',
    ])
      expectProblem(await operator.call(`/api/v1/audit?${query}`), 'invalid_request');
    const { nextCursor } = (await operator.call('/api/v1/audit?limit=1')).body;
    expectProblem(await operator.call(`/api/v1/audit?limit=1&act=setMember&cursor=${nextCursor}`), 'invalid_request');
    expectProblem(await operator.call(`${ofOurs}?limit=1&cursor=${nextCursor}`), 'invalid_request');
  });

  test('is never edited: its table refuses, its owner and superusers included', async () => {
    for (const text of [
      'delete from tollgate.audit_log',
      `update tollgate.audit_log set reason = 'none'`,
      'truncate tollgate.audit_log',
    ])
      await expect(database.superuser.query(text)).rejects.toThrow('append-only');
  });
});
