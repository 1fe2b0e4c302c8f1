import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
/** Where Debian and Ubuntu put it. */
const POSTGRES_15 = '/usr/lib/postgresql/15/bin';
const SQL_TESTS = ['test/db', 'test/migrations', 'test/security/rights.test.ts'];

test('the tests of the SQL pass on PostgreSQL 15 too, the oldest that is promised', async ({ skip }) => {
  skip(!existsSync(`${POSTGRES_15}/postgres`), `there is no PostgreSQL 15 in ${POSTGRES_15}`);
  const { code, output } = await runVitest(SQL_TESTS);
  expect(code, output.slice(-20_000)).toBe(0);
  // The comparison with schema.sql skips itself on every PostgreSQL but 18: this one was another.
  expect(output).toMatch(/Tests +\d+ passed \| 1 skipped/);
});

function runVitest(files: readonly string[]): Promise<{ code: number | null; output: string }> {
  const child = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...files], {
    cwd: PROJECT,
    env: { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', TOLLGATE_TEST_POSTGRES_BIN: POSTGRES_15 },
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}
