import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CHECKS } from '../../db/verify.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

/** `npm run verify` and `npm run migrate` as an operator runs them. */
function run(entry: string, environment: NodeJS.ProcessEnv): Promise<{ exitCode: number; output: string }> {
  const project = fileURLToPath(new URL('../..', import.meta.url));
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [entry],
      { cwd: project, env: { PATH: process.env.PATH, ...environment } },
      (error, stdout, stderr) => resolve({ exitCode: error ? Number(error.code) : 0, output: stdout + stderr }),
    );
  });
}

it('verify fails on a database in which it sees no organization, proves a sound one, and shows the rows of a broken one', async () => {
  const verify = () => run('db/verifyMain.ts', { DATABASE_AUDITOR_URL: database.auditorUrl });
  expect(await verify()).toMatchObject({ exitCode: 1, output: expect.stringContaining('✗ sees no organization') });

  await createOrganization(database.superuser, 'pro', 'acme');
  const sound = await verify();
  expect(sound.exitCode).toBe(0);
  expect(sound.output.match(/^✓ /gm)).toHaveLength(CHECKS.length);
  expect(sound.output).toContain('Sound: 1 organizations, 5 balances, 5 ledger entries, 0 holds, 0 jobs.');

  await database.superuser.query(`update tollgate.balances set last_entry = 7 where token_type = 'forecast'`);
  const broken = await verify();
  expect(broken.exitCode).toBe(1);
  expect(broken.output).toMatch(
    /^✗ I6 numbering .*\n {4}\{"organization_id":"acme","token_type":"forecast","last_entry":7,/m,
  );
  expect(broken.output).toContain(`Broken in 1 of ${CHECKS.length} checks`);
});

it('verify with a wrong address says so and repeats no secret', async () => {
  const { exitCode, output } = await run('db/verifyMain.ts', {
    DATABASE_AUDITOR_URL: 'mysql://auditor:hush@localhost/tollgate',
  });
  expect(exitCode).toBe(1);
  expect(output).toContain('DATABASE_AUDITOR_URL: must look like postgres://');
  expect(output).not.toContain('hush');
});

it('migrate says that there is nothing to do, and what is wrong in a sentence', async () => {
  expect(await run('migrations/main.ts', { DATABASE_OWNER_URL: database.ownerUrl })).toEqual({
    exitCode: 0,
    output: 'Nothing to do: the database is up to date.\n',
  });
  expect(await run('migrations/main.ts', {})).toMatchObject({
    exitCode: 1,
    output: expect.stringContaining('DATABASE_OWNER_URL is not set'),
  });
  const nowhere = await run('migrations/main.ts', { DATABASE_OWNER_URL: 'postgres://nobody@127.0.0.1:1/nothing' });
  expect(nowhere.exitCode).toBe(1);
  expect(nowhere.output).toMatch(/ECONNREFUSED/);
  expect(nowhere.output).not.toContain('    at ');
});
