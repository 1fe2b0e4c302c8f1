import { existsSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { expect, inject, onTestFinished, test, vi } from 'vitest';
import { type StackOptions, type StackPart, startStack } from '../../dev/stack.ts';
import { freshDatabase } from '../support/database.ts';
import { isRunning } from './isRunning.ts';
import { temporaryFolder } from './temporaryFolder.ts';

// Whole stacks, on a machine that may be busy with other tests.
vi.setConfig({ testTimeout: 120_000 });

const PARTS: StackPart[] = ['postgres', 'temporal', 'standIn', 'authStandIn', 'api', 'worker'];

test('two stacks at once get different ports, and stopping both leaves nothing running and no folder', async () => {
  const folder = await temporaryFolder();
  const [one, other] = await Promise.all([
    start({ stateDirectory: join(folder, 'one'), ephemeral: true, ports: 'free' }),
    start({ stateDirectory: join(folder, 'other'), ephemeral: true, ports: 'free' }),
  ]);
  const places = [one, other].flatMap(({ urls }) => [
    urls.api,
    urls.temporal,
    urls.ai,
    new URL(urls.databases.owner).host,
  ]);
  expect(new Set(places).size).toBe(places.length);

  const pids = [one, other].flatMap((stack) => Object.values(stack.pids()));
  expect(pids.filter(isRunning)).toHaveLength(2 * PARTS.length);
  await Promise.all([one.stop(), other.stop()]);
  expect(pids.filter(isRunning)).toEqual([]);
  expect([existsSync(join(folder, 'one')), existsSync(join(folder, 'other'))]).toEqual([false, false]);
});

test('every part that is killed comes back, all at once too, and the stack is ready again at the same URLs', async () => {
  const stack = await start({ stateDirectory: join(await temporaryFolder(), 'state'), ephemeral: true, ports: 'free' });
  const before = stack.pids();

  for (const part of PARTS) stack.kill(part, 'SIGKILL');
  await Promise.all(PARTS.map((part) => stack.restarted(part)));

  for (const part of PARTS) expect(stack.pids()[part]).not.toBe(before[part]);
  expect((await fetch(`${stack.urls.api}/readyz`)).status).toBe(200);
  expect(await query(stack.urls.databases.superuser!, 'select id, plan from public.organizations')).toEqual([
    { id: 'org-dev', plan: 'pro' },
  ]);
});

test('a second start in the same folder has the same URLs, key and data', async () => {
  const stateDirectory = join(await temporaryFolder(), 'state');
  const first = await start({ stateDirectory });
  await query(first.urls.databases.superuser!, `update public.organizations set name = 'Changed' where id = 'org-dev'`);
  await expect(startStack({ stateDirectory, say: () => {} })).rejects.toThrow(
    `Tollgate already runs in ${stateDirectory}`,
  );
  await first.stop();

  const second = await start({ stateDirectory });
  expect(second.urls).toEqual(first.urls);
  expect(first.developmentKey.isNew).toBe(true);
  expect(second.operatorCredential).toBe(first.operatorCredential);
  expect(second.developmentKey).toEqual({ secret: first.developmentKey.secret, isNew: false });
  expect(await query(second.urls.databases.superuser!, 'select name from public.organizations')).toEqual([
    { name: 'Changed' },
  ]);
});

test('services of the user’s own are used instead of ours, and the owner needs no superuser for the organization', async () => {
  const database = await freshDatabase();
  onTestFinished(() => database.drop());
  const { api, worker, auditor } = inject('databasePasswords');
  const stack = await start({
    stateDirectory: join(await temporaryFolder(), 'state'),
    ephemeral: true,
    ports: 'free',
    env: {
      ...process.env,
      DATABASE_URL: database.apiUrl,
      DATABASE_OWNER_URL: database.ownerUrl,
      TOLLGATE_API_PASSWORD: api,
      TOLLGATE_WORKER_PASSWORD: worker,
      TOLLGATE_AUDITOR_PASSWORD: auditor,
      TEMPORAL_ADDRESS: inject('temporalAddress'),
    },
  });
  expect(Object.keys(stack.pids()).sort()).toEqual(['api', 'authStandIn', 'standIn', 'worker']);
  expect(stack.urls.databases).toEqual({
    owner: database.ownerUrl,
    api: database.apiUrl,
    worker: database.workerUrl,
    auditor: database.auditorUrl,
  });
  expect(await query(database.superuserUrl, 'select id from public.organizations')).toEqual([{ id: 'org-dev' }]);
  const membership = `select pg_has_role('tollgate_owner', 'service_role', 'usage') as "inherits"`;
  expect(await query(database.superuserUrl, membership)).toEqual([{ inherits: false }]);
  expect(() => stack.kill('postgres', 'SIGKILL')).toThrow('This stack does not run postgres itself');
  expect((await fetch(`${stack.urls.api}/readyz`)).status).toBe(200);
});

test('wrong variables of any part are all told at once, before anything runs or is made', async () => {
  const folder = join(await temporaryFolder(), 'state');
  const env = {
    ...process.env,
    LOG_LEVEL: 'loud',
    ORPHAN_SWEEP_INTERVAL_MS: 'abc',
    JOB_TIME_BUDGET_MS: '-1',
    AI_BASE_URL: 'ftp://x',
  };
  const error: Error = await startStack({ stateDirectory: folder, ephemeral: true, env, say: () => {} }).catch(
    (it) => it,
  );
  const told = error.message.split('\n').flatMap((line) => /^ {2}([A-Z_]+)/.exec(line)?.[1] ?? []);
  expect(told.sort()).toEqual([
    'AI_API_KEY',
    'AI_BASE_URL',
    'AI_MODEL',
    'JOB_TIME_BUDGET_MS',
    'LOG_LEVEL',
    'ORPHAN_SWEEP_INTERVAL_MS',
  ]);
  expect(existsSync(folder)).toBe(false);
});

test('one database login without the other is refused, and nothing is left running', async () => {
  const folder = join(await temporaryFolder(), 'state');
  const env = { ...process.env, DATABASE_URL: 'postgres://somewhere/tollgate' };
  await expect(startStack({ stateDirectory: folder, ephemeral: true, env, say: () => {} })).rejects.toThrow(
    'Set both DATABASE_URL (the login that Tollgate runs with) and DATABASE_OWNER_URL',
  );
  expect(existsSync(folder)).toBe(false);
});

async function start(options: Omit<StackOptions, 'say'>) {
  const stack = await startStack({ ...options, say: () => {} });
  onTestFinished(() => stack.stop());
  return stack;
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
