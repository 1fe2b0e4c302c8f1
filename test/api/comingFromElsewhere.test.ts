import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { OPERATIONS } from '../../contract/operations.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization } from '../support/organization.ts';
import { startTestApi, type TestApi } from './testApi.ts';

/** docs/guides/COMING_FROM_ELSEWHERE.md, executed: its lines in their order, and the addresses in its table. */

const guide = await readFile(new URL('../../docs/guides/COMING_FROM_ELSEWHERE.md', import.meta.url), 'utf8');
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

test('its lines run one after the other, and do what it says', async () => {
  const { organizationId, secret } = await createOrganization(database.superuser);
  const { stdout } = await promisify(execFile)('sh', ['-euc', script.replaceAll(/^curl/gm, 'echo; curl')], {
    env: { ...process.env, TOLLGATE_URL: api.url, TOLLGATE_KEY: secret, ORGANIZATION: organizationId },
  });
  const [check, deduction, capture, { balances }, { entries }, ...more] = stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
  expect(more).toEqual([]);
  expect(check).toEqual({ hasTokens: true });
  expect(deduction).toMatchObject({ success: true, remainingBalance: 17 });
  expect(capture).toMatchObject({ state: 'captured', captured: 4, returned: 2 });
  const goals = balances.find(({ tokenType }: { tokenType: string }) => tokenType === 'goal_generation');
  expect(goals).toMatchObject({ available: 13, held: 0, used: 7 });
  expect(entries.map(({ kind, amount }: { kind: string; amount: number }) => [kind, amount])).toEqual([
    ['release', 2],
    ['capture', 4],
    ['hold', 6],
  ]);
});

test('every address in its table is one of ours', () => {
  const named = [...guide.matchAll(/`(?:GET|POST) (\/api\/v1\/[^`?]*)`/g)].map(([, path]) => path!);
  expect(named.length).toBeGreaterThan(6);
  const shapes = OPERATIONS.map(({ path }) => path.replaceAll(/\{\w+\}/g, '{id}'));
  expect(named.filter((path) => !shapes.includes(path))).toEqual([]);
});
