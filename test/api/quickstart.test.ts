import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { createOperator } from '../../db/operators.ts';
import { freshDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { startJobWorker } from '../support/jobWorker.ts';
import { startTestApi } from './testApi.ts';

/** The README's quickstart, executed: its lines in their order, and the app that it shows. */

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const readme = await readFile(`${PROJECT}/README.md`, 'utf8');
const section = /\n## An app in an afternoon\n(.*?)\n## /s.exec(readme)![1]!;
const blocksOf = (language: string) =>
  [...section.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(([, text]) => text!);

test('the quickstart does what the README says, from the first key to the usage as CSV', async () => {
  const database = await freshDatabase();
  const worker = await startJobWorker(database);
  const api = await startTestApi(database, { taskQueue: worker.taskQueue });
  onTestFinished(async () => {
    await api.close();
    await worker.stop();
    await database.drop();
  });
  const { credential } = await createOperator(database.superuser, { name: 'quickstart' });

  const lines = blocksOf('sh')
    .join('')
    .replaceAll(/^curl/gm, 'echo; curl')
    .replace('npx node examples', 'echo; npx node examples');
  const { stdout } = await promisify(execFile)('sh', ['-euc', lines], {
    cwd: PROJECT,
    env: { ...process.env, TOLLGATE_URL: api.url, OPERATOR: credential },
  });

  const [organization, check, deduction, leads, goal, stats, heading, ...usage] = stdout
    .split(/\r?\n/)
    .filter((line) => line !== '');
  const parsed = (text: string | undefined) => JSON.parse(text!);
  expect(parsed(organization)).toMatchObject({ id: 'acme', plan: 'pro', mode: 'live' });
  expect(parsed(check)).toEqual({ hasTokens: true });
  expect(parsed(deduction)).toMatchObject({ success: true, remainingBalance: 17 });
  expect([leads, goal]).toEqual(['4 leads', expect.stringContaining('Stand-in goal for bicycles')]);
  const balances = new Map(
    parsed(stats).byType.map(({ tokenType, balance }: { tokenType: string; balance: number }) => [tokenType, balance]),
  );
  expect([balances.get('goal_generation'), balances.get('lead_generation')]).toEqual([14, 46]);
  expect(heading).toBe('startsAt,group,tokens,refunded,count');
  expect(usage.map((line) => line.split(',').slice(1))).toEqual([
    ['generate_goal', '6', '0', '2'],
    ['generate_leads', '4', '0', '1'],
  ]);
  await expectInvariants(database.superuser);
}, 60_000);

test('the app that the README shows is the one that it runs', async () => {
  expect(blocksOf('ts')).toEqual([await readFile(`${PROJECT}/examples/quickstart/app.ts`, 'utf8')]);
});
