import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { authenticateOperator } from '../../db/operators.ts';
import { CHECKS } from '../../db/verify.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

/** `npm run verify` and the others as an operator runs them. `printed` is what he could pipe on. */
function run(
  entry: string,
  environment: NodeJS.ProcessEnv,
  ...options: string[]
): Promise<{ exitCode: number; output: string; printed: string }> {
  const project = fileURLToPath(new URL('../..', import.meta.url));
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [entry, ...options],
      { cwd: project, env: { PATH: process.env.PATH, ...environment } },
      (error, stdout, stderr) =>
        resolve({ exitCode: error ? Number(error.code) : 0, output: stdout + stderr, printed: stdout }),
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
  expect(await run('migrations/main.ts', { DATABASE_OWNER_URL: database.ownerUrl })).toMatchObject({
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

it('operator makes one whose credential works until it is revoked, and prints it alone on standard output', async () => {
  const operator = (...options: string[]) =>
    run('db/operatorMain.ts', { DATABASE_OWNER_URL: database.ownerUrl }, ...options);
  const made = await operator('--name', 'Ann', '--days', '30');
  expect(made).toMatchObject({ exitCode: 0, printed: expect.stringMatching(/^tg_op_[A-Za-z0-9_-]{43}\n$/) });
  const credential = made.printed.trim();
  const found = await authenticateOperator(database.api, credential);
  expect(made.output).toContain(`Operator ${found?.id}, Ann.`);
  const { rows } = await database.superuser.query(
    `select o.name, (o.expires_at - clock_timestamp()) between interval '29 days' and interval '30 days' as is_bounded,
            position(convert_to($1, 'UTF8') in o.credential_hash) = 0 as is_hashed
       from tollgate.operators o`,
    [credential],
  );
  expect(rows).toEqual([{ name: 'Ann', is_bounded: true, is_hashed: true }]);

  expect(await operator('--revoke', found!.id)).toMatchObject({ exitCode: 0, printed: '' });
  expect(await authenticateOperator(database.api, credential)).toBeNull();
  expect(await operator('--revoke', found!.id)).toMatchObject({
    exitCode: 1,
    output: `No operator ${found!.id} has a credential that works.\n`,
  });
});

it.each([
  [[], 'Use: npm run operator'],
  [['--name', ' '], 'Use: npm run operator'],
  [['--name', 'x'.repeat(101)], 'Use: npm run operator'],
  [['--name', 'Ann', '--revoke', 'x'], 'Use: npm run operator'],
  [['--name', 'Ann', '--days', '0'], '--days takes a whole number'],
  [['--named', 'Ann'], "Unknown option '--named'"],
])('operator %j says how it is used, and makes nobody', async (options, words) => {
  const { rows: before } = await database.superuser.query('select count(*) from tollgate.operators');
  const refused = await run('db/operatorMain.ts', { DATABASE_OWNER_URL: database.ownerUrl }, ...options);
  expect(refused).toMatchObject({ exitCode: 1, output: expect.stringContaining(words), printed: '' });
  expect(refused.output).not.toContain('    at ');
  const { rows: after } = await database.superuser.query('select count(*) from tollgate.operators');
  expect(after).toEqual(before);
});
