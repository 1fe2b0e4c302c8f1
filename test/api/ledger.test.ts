import { generateKeyPairSync, type KeyObject, verify as verifySignature } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { writeCursor } from '../../api/listCursor.ts';
import { type LedgerEntry, ledgerHeadList, ledgerPage } from '../../contract/ledger.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { sealLedger } from '../../db/seals.ts';
import { parseCsv } from '../support/csv.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { appendEntries } from '../support/entries.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { expectProblem, startTestApi, type TestApi } from './testApi.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;

beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database, { signingKey: privateKey });
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.auditor);
  await api.close();
  await database.drop();
});

const get = (path: string, by = organization) => api.call(path, { key: by.secret });
const LEADS = '/api/v1/ledger?tokenType=lead_generation';
const sealAll = () => sealLedger(database.worker, { after: null, balances: 10_000 });

async function everyPage(path: string, meanwhile: () => Promise<unknown> = async () => {}): Promise<LedgerEntry[]> {
  const entries: LedgerEntry[] = [];
  let cursor: string | null = null;
  do {
    const reply = await get(cursor === null ? path : `${path}&cursor=${cursor}`);
    expect(reply.status, reply.text).toBe(200);
    const page = ledgerPage.parse(reply.body);
    entries.push(...page.entries);
    cursor = page.nextCursor;
    await meanwhile();
  } while (cursor !== null);
  return entries;
}

const numbers = (entries: LedgerEntry[]) => entries.map(({ entryNumber }) => entryNumber);
const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => from + n);

describe('the ledger, page by page', () => {
  test('shows each movement with what the balance was after it, newest first', async () => {
    const holder = holderOf(database.api, organization);
    await holder.hold('h-1', 5);
    await sealAll();
    await holder.capture('h-1', 3);
    const { entries } = ledgerPage.parse((await get(LEADS)).body);
    expect(entries).toMatchObject([
      {
        entryNumber: 4,
        kind: 'release',
        from: 'held',
        to: 'available',
        amount: 2,
        availableAfter: 47,
        heldAfter: 0,
        sealNumber: null,
      },
      {
        entryNumber: 3,
        kind: 'capture',
        from: 'held',
        to: 'consumed',
        amount: 3,
        availableAfter: 45,
        heldAfter: 2,
        holdId: 'h-1',
      },
      {
        entryNumber: 2,
        kind: 'hold',
        from: 'available',
        to: 'held',
        amount: 5,
        actor: organization.principal,
        sealNumber: 1,
      },
      {
        entryNumber: 1,
        kind: 'grant',
        from: 'outside',
        to: 'available',
        amount: 50,
        owedAfter: 0,
        holdId: null,
        sealNumber: 1,
      },
    ]);
    expect(entries[0]).toMatchObject({ organizationId: organization.organizationId, tokenType: 'lead_generation' });
    expect(entries[0]!.effectiveAt).toMatch(/\.\d{6}Z$/);
  });

  test.each(['newest', 'oldest'] as const)(
    '%s first: pages meet without gaps or repeats while others write',
    async (order) => {
      const holder = holderOf(database.api, organization);
      for (const n of range(1, 8)) await holder.hold(`h-${n}`, 1);
      let written = 0;
      const write = async () => {
        if (written++ < 4) await Promise.all([1, 2, 3].map((n) => holder.hold(`m-${written}-${n}`, 1)));
      };
      const seen = numbers(await everyPage(`${LEADS}&limit=2&order=${order}`, write));
      // Newest first ends at the first entry and never sees what came later; oldest first goes on until there is no more.
      expect(seen).toEqual(order === 'newest' ? range(1, 9).reverse() : range(1, 21));
    },
  );

  test('the last page has no cursor, also when it is full', async () => {
    await holderOf(database.api, organization).hold('h-1', 1);
    expect((await get(`${LEADS}&limit=2`)).body.nextCursor).toBeNull();
    expect((await get(`${LEADS}&limit=2&order=oldest`)).body.nextCursor).toBeNull();
    expect((await get(`${LEADS}&limit=1`)).body.nextCursor).not.toBeNull();
  });

  test('time takes effect in the call that looks: a hold that is over shows as lapsed', async () => {
    await holderOf(database.api, organization).hold('h-1', 1, { lifetimeMs: 1 });
    const [newest] = (await get(LEADS)).body.entries;
    expect(newest).toMatchObject({ kind: 'lapse', holdId: 'h-1', actor: 'time' });
  });

  test('of an organization that was there before Tollgate is not empty: looking is its first use', async () => {
    const client = await database.superuser.connect();
    const id = 'before-tollgate';
    await client.query("begin; set local session_replication_role = 'replica'");
    await client.query("insert into organizations (id, name, plan) values ($1, 'Before', 'pro')", [id]);
    await client.query('commit');
    client.release();
    const key = await createApiKey(database.superuser, { organizationId: id, name: 'r', scopes: ['tokens:read'] });
    const { body } = await api.call(LEADS, { key: key.secret });
    expect(body.entries).toMatchObject([{ kind: 'grant', amount: 50, actor: 'provisioning' }]);
  });
});

describe('a foreign organization', () => {
  test('sees its own entries, heads and export, and a cursor of ours opens nothing', async () => {
    const stranger = await createOrganization(database.superuser);
    await holderOf(database.api, organization).hold('ours', 1);
    for (const path of [LEADS, `${LEADS}&order=oldest`, '/api/v1/ledger/heads', '/api/v1/ledger/export?format=csv']) {
      const { status, text } = await raw(path, stranger);
      expect(status).toBe(200);
      expect(text).not.toContain(organization.organizationId);
      expect(text).not.toContain('ours');
    }
    const { nextCursor } = (await get(`${LEADS}&limit=1`)).body;
    const reply = await get(`${LEADS}&limit=1&cursor=${nextCursor}`, stranger);
    expect(expectProblem(reply, 'invalid_request').errors).toMatchObject([{ path: 'cursor' }]);
  });

  test('nobody without a credential or the scope reads anything', async () => {
    const paths = [
      LEADS,
      '/api/v1/ledger/heads',
      '/api/v1/ledger/export?format=jsonl',
      '/api/v1/balances',
      '/api/v1/statements?month=2026-01',
    ];
    const { secret } = await createApiKey(database.superuser, {
      ...organization,
      name: 'w',
      scopes: ['tokens:write', 'jobs:read'],
    });
    for (const path of paths) {
      expectProblem(await api.call(path), 'unauthorized');
      expect(expectProblem(await api.call(path, { key: secret }), 'scope_missing').scope).toBe('tokens:read');
    }
  });
});

describe('what cannot be asked', () => {
  test.each([
    ['/api/v1/ledger', 'tokenType'],
    ['/api/v1/ledger?tokenType=gold', 'tokenType'],
    [`${LEADS}&tokenType=forecast`, 'tokenType'],
    [`${LEADS}&limit=0`, 'limit'],
    [`${LEADS}&limit=1001`, 'limit'],
    [`${LEADS}&limit=-1`, 'limit'],
    [`${LEADS}&limit=1.5`, 'limit'],
    [`${LEADS}&order=random`, 'order'],
    [`${LEADS}&cursor=`, 'cursor'],
    [`${LEADS}&cursor=MTJ8YWJj`, 'cursor'],
    [`${LEADS}&page=2`, 'page'],
    ['/api/v1/ledger/heads?tokenType=gold', 'tokenType'],
    ['/api/v1/ledger/heads?limit=1', 'limit'],
    ['/api/v1/ledger/export', 'format'],
    ['/api/v1/ledger/export?format=xml', 'format'],
    ['/api/v1/ledger/export?format=csv&tokenType=gold', 'tokenType'],
    ['/api/v1/statements', 'month'],
    ['/api/v1/statements?month=2026-13', 'month'],
    ['/api/v1/statements?month=2026-1', 'month'],
    ['/api/v1/statements?month=0000-01', 'month'],
    ['/api/v1/statements?month=9999-12', 'month'],
    ['/api/v1/statements?month=2026-01&tokenType=gold', 'tokenType'],
    ['/api/v1/balances?at=yesterday', 'at'],
    ['/api/v1/balances?at=2026-02-30T00:00:00Z', 'at'],
    ['/api/v1/balances?at=0000-01-01T00:00:00Z', 'at'],
    [`/api/v1/balances?at=2026-01-01T00:00:00.${'1'.repeat(300)}Z`, 'at'],
    ['/api/v1/balances?at=9999-01-01T00:00:00Z', 'at'],
    ['/api/v1/balances?when=now', 'when'],
  ])('%s is refused with the field %s', async (path, field) => {
    const { errors } = expectProblem(await get(path), 'invalid_request');
    expect(errors!.map(({ path }) => path)).toEqual([field]);
  });

  test.each(['none', '0', '-1', '1.5', '9'.repeat(30)])(
    'a cursor that was made to say %s is refused',
    async (position) => {
      const forged = writeCursor([organization.organizationId, 'lead_generation', 'newest'], [position]);
      expect(expectProblem(await get(`${LEADS}&cursor=${forged}`), 'invalid_request').errors).toMatchObject([
        { path: 'cursor' },
      ]);
    },
  );

  test('a cursor of the other order or another type is refused', async () => {
    await holderOf(database.api, organization).hold('h-1', 1);
    const { nextCursor } = (await get(`${LEADS}&limit=1`)).body;
    for (const path of [`${LEADS}&order=oldest`, '/api/v1/ledger?tokenType=forecast']) {
      const reply = await get(`${path}&cursor=${nextCursor}`);
      expect(expectProblem(reply, 'invalid_request').errors).toMatchObject([{ path: 'cursor' }]);
    }
  });
});

describe('sealed heads', () => {
  const signedText = (head: Record<string, unknown>) =>
    [
      'tollgate ledger head 1',
      head.organizationId,
      head.tokenType,
      head.sealNumber,
      head.lastEntry,
      head.hash,
      '',
    ].join('\n');
  const isGenuine = (head: Record<string, unknown>, key: KeyObject = publicKey) =>
    verifySignature(null, Buffer.from(signedText(head)), key, Buffer.from(head.signature as string, 'base64'));

  test('are signed, before anything is sealed too, and no other figure passes under the signature', async () => {
    const before = ledgerHeadList.parse((await get('/api/v1/ledger/heads?tokenType=forecast')).body).heads;
    expect(before).toMatchObject([{ sealNumber: 0, lastEntry: 0, hash: '0'.repeat(64), isSigned: true }]);
    await sealAll();
    const { heads } = ledgerHeadList.parse((await get('/api/v1/ledger/heads')).body);
    expect(heads.map(({ tokenType }) => tokenType)).toEqual([
      'forecast',
      'general',
      'goal_generation',
      'lead_generation',
      'strategy_analysis',
    ]);
    expect([...before, ...heads].every((head) => isGenuine(head))).toBe(true);
    const head: Record<string, unknown> = heads[0]!;
    expect(head.publicKey).toBe(publicKey.export({ type: 'spki', format: 'pem' }));
    for (const change of [
      { lastEntry: 2 },
      { sealNumber: 2 },
      { tokenType: 'general' },
      { organizationId: 'x' },
      { hash: 'f'.repeat(64) },
    ]) {
      expect(isGenuine({ ...head, ...change }), JSON.stringify(change)).toBe(false);
    }
    expect(isGenuine(head, generateKeyPairSync('ed25519').publicKey)).toBe(false);
  });

  test('say that they are unsigned where no key is configured', async () => {
    const unsigned = await startTestApi(database);
    try {
      const { body } = await unsigned.call('/api/v1/ledger/heads?tokenType=forecast', { key: organization.secret });
      expect(ledgerHeadList.parse(body).heads).toMatchObject([{ isSigned: false, signature: null, publicKey: null }]);
    } finally {
      await unsigned.close();
    }
  });
});

/** The reply as text: an export is no JSON. */
async function raw(path: string, by = organization) {
  const response = await fetch(new URL(path, api.url), { headers: { Authorization: `Bearer ${by.secret}` } });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

describe('the export', () => {
  test('as JSON Lines has every entry of every type, in order, and ends with each signed head', async () => {
    await addGrant(database.superuser, organization.organizationId, { amount: 5 });
    await sealAll();
    await holderOf(database.api, organization).hold('later', 1);
    const { headers, text } = await raw('/api/v1/ledger/export?format=jsonl');
    expect(headers.get('content-type')).toBe('application/jsonl');
    expect(headers.get('content-disposition')).toBe(
      `attachment; filename="ledger-${organization.organizationId}.jsonl"`,
    );
    expect(text.endsWith('\n')).toBe(true);
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const entries = lines.flatMap(({ entry }) => entry ?? []);
    expect(entries.map(({ tokenType, entryNumber }) => `${tokenType} ${entryNumber}`)).toEqual([
      ...[
        'forecast 1',
        'general 1',
        'goal_generation 1',
        'lead_generation 1',
        'lead_generation 2',
        'lead_generation 3',
        'strategy_analysis 1',
      ],
    ]);
    expect(entries).toEqual(expect.arrayContaining(await everyPage(`${LEADS}&order=oldest`)));
    expect(lines.slice(entries.length).map(({ head }) => [head.tokenType, head.lastEntry])).toEqual([
      ...[
        ['forecast', 1],
        ['general', 1],
        ['goal_generation', 1],
        ['lead_generation', 2],
        ['strategy_analysis', 1],
      ],
    ]);
    expect(entries[5]).toMatchObject({ holdId: 'later', sealNumber: null });
  });

  test('goes on over many pages, beside movements and sealing, to the entry that was the last when it began', async () => {
    await appendEntries(database.superuser, organization.organizationId, 4_500);
    const response = await fetch(new URL('/api/v1/ledger/export?format=jsonl&tokenType=lead_generation', api.url), {
      headers: { Authorization: `Bearer ${organization.secret}` },
    });
    let text = '';
    let parts = 0;
    const decoder = new TextDecoder();
    for await (const part of response.body!) {
      text += decoder.decode(part, { stream: true });
      if (parts++ < 3) await Promise.all([holderOf(database.api, organization).hold(`h-${parts}`, 1), sealAll()]);
    }
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.slice(0, -1).map(({ entry }) => entry.entryNumber)).toEqual(range(1, 4_501));
    // Sealed while it ran: the head is the one of the beginning, and no entry names a seal that it does not cover.
    expect(lines.at(-1).head).toMatchObject({ sealNumber: 0, lastEntry: 0 });
    expect(lines.slice(0, -1).every(({ entry }) => entry.sealNumber === null)).toBe(true);
  });

  test('as CSV neutralises what a spreadsheet would calculate, and an apostrophe taken away gives back what was there', async () => {
    const planted = [
      '=1+1',
      '+1',
      '-1+2',
      '@SUM(1)',
      '\tx',
      "'quoted",
      'a "b", c',
      'two\r\nlines',
      '=HYPERLINK("http://x","y")',
    ];
    for (const actor of planted) await appendEntries(database.superuser, organization.organizationId, 2, actor);
    const { text, headers } = await raw('/api/v1/ledger/export?format=csv&tokenType=lead_generation');
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
    expect(headers.get('link')).toBe('</api/v1/ledger/heads>; rel="related"');
    const [names, ...rows] = parseCsv(text);
    expect(names!.slice(0, 4)).toEqual(['organizationId', 'tokenType', 'entryNumber', 'kind']);
    const actors = rows.slice(1).map((row) => row[names!.indexOf('actor')]!);
    for (const actor of actors) expect(actor).not.toMatch(/^[=+\-@\t\r\n]/);
    expect(actors.map((actor) => actor.replace(/^'/, ''))).toEqual(planted.flatMap((actor) => [actor, actor]));
    for (const row of rows) expect(row).toHaveLength(names!.length);
  });

  test('breaks off, and is not whole, when the database goes away in the middle', async () => {
    const { superuser } = database;
    await sealAll();
    // The second token type's page fails: the policy is gone while it is read.
    const readable = `grant execute on function tollgate.entries_between(text, text, bigint, bigint) to tollgate_api`;
    await superuser.query(readable.replace('grant', 'revoke').replace(' to ', ' from '));
    try {
      await expect(raw('/api/v1/ledger/export?format=csv')).rejects.toThrow();
    } finally {
      await superuser.query(readable);
    }
    expect(api.logLines.some((line) => line.includes('an export was cut off'))).toBe(true);
  });
});
