import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { PROBLEMS } from '../../contract/problems.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization } from '../support/organization.ts';
import { startTestApi, type TestApi } from './testApi.ts';

/** docs/guides/HOLDS.md, executed: its lines in their order, and what its table says. */

const guide = await readFile(new URL('../../docs/guides/HOLDS.md', import.meta.url), 'utf8');
const script = [...guide.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!).join('');

let database: TestDatabase;
let api: TestApi;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await database.drop();
});

test('the guide’s lines run one after the other, and do what it says', async () => {
  const { secret } = await createOrganization(database.superuser);
  // Between two answers, a line of its own.
  const lines = script.replaceAll(/^curl/gm, 'echo; curl');
  const { stdout } = await promisify(execFile)('sh', ['-euc', lines], {
    env: { ...process.env, TOLLGATE_URL: api.url, TOLLGATE_KEY: secret },
  });
  const [quote, extended, grown, part, last, refund, found, list, placed, captured, ...more] = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  expect(more).toEqual([]);
  expect(quote).toMatchObject({ outcome: 'held', tokens: 10, grants: [{ tokens: 10 }] });
  expect(extended).toMatchObject({ state: 'held' });
  expect(grown).toMatchObject({ tokens: 15, available: 35 });
  expect(part).toMatchObject({ state: 'held', captured: 4 });
  expect(last).toMatchObject({ state: 'captured', captured: 3, returned: 8, capturedInAll: 7 });
  expect(refund).toMatchObject({ chargeId: part.chargeId, refunded: 1, charged: 4, available: 44 });
  expect(found).toMatchObject({
    id: last.id,
    tokens: 15,
    open: 0,
    charges: [{ tokens: 4, refunded: 1 }, { tokens: 3 }],
  });
  expect(list).toEqual({ holds: [found], nextCursor: null });
  expect(placed).toMatchObject([
    { key: 'row-1', tokens: 5 },
    { key: 'row-2', code: 'invalid_request' },
  ]);
  expect(captured).toMatchObject([
    { id: last.id, replayed: true },
    { id: 'no-such-hold', code: 'hold_not_found' },
  ]);
});

test('the guide’s table gives each code the status that it has', () => {
  const rows = [...guide.matchAll(/^\| (\d{3}) \| ([^|]+) \|/gm)];
  expect(rows.length).toBeGreaterThan(6);
  for (const [, status, codes] of rows) {
    for (const [, code] of codes!.matchAll(/`(\w+)`/g)) {
      expect([code, PROBLEMS[code as keyof typeof PROBLEMS]?.status]).toEqual([code, Number(status)]);
    }
  }
});
