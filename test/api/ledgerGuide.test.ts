import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { apiConfig, readConfig } from '../../config.ts';
import { sealLedger } from '../../db/seals.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { appendEntries } from '../support/entries.ts';
import { holderOf } from '../support/holder.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { startTestApi, type TestApi } from './testApi.ts';

/** docs/guides/LEDGER.md, executed: its requests, its keys, its two ways to check. */

const run = promisify(execFile);
const guide = await readFile(new URL('../../docs/guides/LEDGER.md', import.meta.url), 'utf8');
const blocks = [...guide.matchAll(/```(?:sh|js)\n(.*?)```/gs)].map(([, text]) => text!);
const block = (name: string) => blocks.find((text) => new RegExp(`^(#|//) ${name}`).test(text))!;

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tollgate-ledger-'));
  await sh(block('keys'));
  const { LEDGER_SIGNING_KEY } = readConfig(apiConfig, {
    DATABASE_URL: 'postgres://h/d',
    TEMPORAL_ADDRESS: 'h:1',
    LEDGER_SIGNING_KEY: await readFile(join(folder, 'ledger-private.pem'), 'utf8'),
  });
  database = await freshDatabase();
  api = await startTestApi(database, { signingKey: LEDGER_SIGNING_KEY! });
  organization = await createOrganization(database.superuser);
  const holder = holderOf(database.api, organization);
  await holder.hold('h-1', 5);
  await sealLedger(database.worker, { after: null, balances: 100 });
  await appendEntries(database.superuser, organization.organizationId, 2_200);
  await holder.capture('h-1', 3);
  await appendEntries(database.superuser, organization.organizationId, 2, 'sql:a\\b\tc\nd');
  await sealLedger(database.worker, { after: null, balances: 100 });
  await holder.hold('h-2', 1);
  await writeFile(join(folder, 'checkLedger.mjs'), block('checkLedger.mjs'));
});
afterAll(async () => {
  await api.close();
  await database.drop();
  await rm(folder, { recursive: true });
});

const sh = (script: string) => run('sh', ['-euc', script], { cwd: folder });

async function get(path: string): Promise<string> {
  const response = await fetch(new URL(path, api.url), { headers: { Authorization: `Bearer ${organization.secret}` } });
  expect(response.status, path).toBe(200);
  return response.text();
}

/** What the guide's script says of an export: its output, or the complaint that it ends with. */
async function check(lines: string, key = 'ledger-public.pem', ...heads: string[]): Promise<string> {
  await writeFile(join(folder, 'ledger.jsonl'), lines);
  return run(process.execPath, ['checkLedger.mjs', 'ledger.jsonl', key, ...heads], { cwd: folder }).then(
    ({ stdout }) => stdout.trimEnd(),
    ({ code, stderr }) => `exit ${code}: ${stderr.trimEnd()}`,
  );
}

const requests = [...guide.matchAll(/\$TOLLGATE_URL(\/api\/v1\/[^"]+)"/g)].map(([, path]) => path!);

test.each(requests)('%s is answered', async (path) => {
  expect(await get(path)).not.toBe('');
});

test('openssl accepts the signature of a head, and refuses it over another', async () => {
  const heads = await get('/api/v1/ledger/heads?tokenType=lead_generation');
  await writeFile(join(folder, 'heads.json'), heads);
  expect((await sh(block('signature'))).stdout).toContain('Signature Verified Successfully');
  await writeFile(join(folder, 'heads.json'), heads.replace('"lastEntry":2206', '"lastEntry":2205'));
  await expect(sh(block('signature'))).rejects.toMatchObject({ code: 1 });
});

test('the value that the guide makes for LEDGER_SIGNING_KEY is the key', async () => {
  const value = (await sh('openssl pkey -in ledger-private.pem -outform DER | openssl base64 -A')).stdout;
  const read = readConfig(apiConfig, {
    DATABASE_URL: 'postgres://h/d',
    TEMPORAL_ADDRESS: 'h:1',
    LEDGER_SIGNING_KEY: value,
  });
  const pem = await readFile(join(folder, 'ledger-private.pem'), 'utf8');
  expect(read.LEDGER_SIGNING_KEY!.equals(createPrivateKey(pem))).toBe(true);
});

describe('an export, checked by the guide’s script', () => {
  let lines: string[];
  beforeAll(async () => {
    lines = (await get('/api/v1/ledger/export?format=jsonl')).trimEnd().split('\n');
  });
  const text = (changed: readonly string[]) => `${changed.join('\n')}\n`;
  const find = (part: string) => lines.findIndex((line) => line.includes(part));

  test('is whole, sealed and signed, whatever stands in an actor', async () => {
    expect(await check(text(lines))).toBe(
      [
        'forecast: 1 entries, sealed and signed up to 1',
        'general: 1 entries, sealed and signed up to 1',
        'goal_generation: 1 entries, sealed and signed up to 1',
        'lead_generation: 2207 entries, sealed and signed up to 2206',
        'strategy_analysis: 1 entries, sealed and signed up to 1',
      ].join('\n'),
    );
  });

  test.each([
    [
      'another amount',
      (all: string[]) => change(all, '"kind":"capture"', /"amount":\d+/, '"amount":9'),
      'are not those that were sealed',
    ],
    [
      'another actor',
      (all: string[]) => change(all, '"kind":"capture"', /"actor":"[^"]+"/, '"actor":"key:x"'),
      'are not those that were sealed',
    ],
    ['a microsecond', (all: string[]) => change(all, '"kind":"capture"', /\d(?=Z","createdAt)/, 'x'), 'Cannot convert'],
    ['an entry left out', (all: string[]) => all.toSpliced(find('"kind":"capture"'), 1), 'is missing'],
    ['two entries swapped', (all: string[]) => swap(all, find('"kind":"capture"')), 'is missing'],
    ['the head left out', (all: string[]) => all.slice(0, -1), 'the head is missing, the file was cut off'],
    [
      'an entry called unsealed',
      (all: string[]) => change(all, '"kind":"capture"', /"sealNumber":\d+/, '"sealNumber":null'),
      'follows one that is not',
    ],
    [
      'a head of fewer entries',
      (all: string[]) => change(all, '{"head":{"organizationId"', /"lastEntry":1,/, '"lastEntry":0,'),
      'the head is of other seals',
    ],
    [
      'a signature of another head',
      (all: string[]) => change(all, '"head"', /"signature":"[^"]+"/, '"signature":"AAAA"'),
      'is not signed with this key',
    ],
  ])('with %s is found out', async (_change, make, complaint) => {
    expect(await check(text(make(lines)))).toMatch(new RegExp(`^exit 1: [^]*${complaint}`));
  });

  test('whose past was made anew does not fit a head that was kept', async () => {
    const { heads } = JSON.parse(await get('/api/v1/ledger/heads'));
    await writeFile(join(folder, 'kept.json'), JSON.stringify({ heads }));
    expect(await check(text(lines), 'ledger-public.pem', 'kept.json')).toContain('sealed and signed up to 2206');
    const other = heads.map((head: object) => ({ ...head, hash: 'f'.repeat(64) }));
    await writeFile(join(folder, 'kept.json'), JSON.stringify({ heads: other }));
    expect(await check(text(lines), 'ledger-public.pem', 'kept.json')).toMatch(
      /^exit 1: forecast: seal \d+ is not the one that was kept/,
    );
    // Nor does one that ends before it, or has lost all of a type.
    const later = heads.map((head: { sealNumber: number }) => ({ ...head, sealNumber: head.sealNumber + 1 }));
    for (const kept of [later, [...heads, { ...heads[0], tokenType: 'gone' }]]) {
      await writeFile(join(folder, 'kept.json'), JSON.stringify({ heads: kept }));
      expect(await check(text(lines), 'ledger-public.pem', 'kept.json')).toMatch(
        /^exit 1: \w+: it ends before seal \d+, which was kept/,
      );
    }
  });

  test('of an unsigned ledger, or under another key, is not believed', async () => {
    await sh(
      'openssl genpkey -algorithm ed25519 -out other.pem && openssl pkey -in other.pem -pubout -out other-public.pem',
    );
    expect(await check(text(lines), 'other-public.pem')).toContain('forecast: the head is not signed with this key');
    const unsigned = change(lines, '"head"', /"signature":"[^"]+"/, '"signature":null');
    expect(await check(text(unsigned))).toContain('forecast: the head is not signed with this key');
  });

  function change(all: readonly string[], where: string, from: RegExp, to: string): string[] {
    const at = all.findIndex((line) => line.includes(where));
    const changed = all[at]!.replace(from, to);
    expect(changed).not.toBe(all[at]);
    return all.with(at, changed);
  }

  function swap(all: readonly string[], at: number): string[] {
    return all.with(at, all[at + 1]!).with(at + 1, all[at]!);
  }
});
