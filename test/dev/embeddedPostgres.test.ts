import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { expect, onTestFinished, test } from 'vitest';
import { type PostgresOptions, startPostgres } from '../../dev/embeddedPostgres.ts';
import { isRunning } from './isRunning.ts';
import { startElsewhere } from './startElsewhere.ts';
import { temporaryFolder } from './temporaryFolder.ts';

test('a killed PostgreSQL starts again on the same folder with its committed rows', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  const first = await start({ dataDirectory });
  await query(first.superuserUrl(), 'create table kept (id int)');
  await query(first.superuserUrl(), 'insert into kept values (1), (2)');

  process.kill(first.pid, 'SIGKILL');
  expect(await first.exited).toEqual({ code: null, signal: 'SIGKILL' });

  const second = await start({ dataDirectory, port: first.port });
  expect(second.superuserUrl()).toBe(first.superuserUrl());
  expect(await query(second.superuserUrl(), 'select id from kept order by id')).toEqual([{ id: 1 }, { id: 2 }]);
});

test('a PostgreSQL that was killed in the middle of a long query starts again', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  const first = await start({ dataDirectory });
  const busy = query(first.superuserUrl(), 'select count(*) from generate_series(1, 100000000)').catch(() => 'cut off');
  await expect
    .poll(() => query(first.superuserUrl(), `select from pg_stat_activity where query like 'select count%'`))
    .toHaveLength(1);

  process.kill(first.pid, 'SIGKILL');
  await first.exited;
  await start({ dataDirectory });
  expect(await busy).toBe('cut off');
});

test('PostgreSQL dies with the process that started it, even by SIGKILL, and so do its backends', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  const { parent, child } = await startElsewhere(`
    import { startPostgres } from '${new URL('../../dev/embeddedPostgres.ts', import.meta.url)}';
    const server = await startPostgres({ dataDirectory: '${dataDirectory}', settings: { fsync: 'off' } });
    console.log(server.pid);
  `);
  expect(isRunning(child)).toBe(true);
  process.kill(parent, 'SIGKILL');
  await expect.poll(() => isRunning(child), { timeout: 10_000 }).toBe(false);
  // The folder is free again only when the last backend is gone.
  await start({ dataDirectory });
});

test('a folder that another PostgreSQL runs on is refused with its pid', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  const { pid } = await start({ dataDirectory });
  await expect(startPostgres({ dataDirectory })).rejects.toThrow(`A PostgreSQL (pid ${pid}) already runs on`);
});

test('a lock file whose pid now belongs to some other process does not stop the start', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  await (await start({ dataDirectory })).stop();
  const { uid, gid } = await stat(dataDirectory);
  // Of the same user, or PostgreSQL would see by itself that it cannot be another postmaster.
  const other = spawn('sleep', ['60'], process.getuid?.() === 0 ? { uid, gid } : {});
  onTestFinished(() => void other.kill());
  await writeFile(join(dataDirectory, 'postmaster.pid'), `${other.pid}\n${dataDirectory}\n`);
  await start({ dataDirectory });
});

test('an initdb that was killed half-way leaves nothing that stops the next start', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  await mkdir(`${dataDirectory}.unfinished/base`, { recursive: true });
  await writeFile(`${dataDirectory}.password`, 'of the start that was killed');
  await start({ dataDirectory });
});

test('the superuser logs in over TCP with the password of a file that only we can read', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  const { superuserUrl } = await start({ dataDirectory });
  expect((await stat(`${dataDirectory}.password`)).mode & 0o777).toBe(0o600);
  const url = new URL(superuserUrl());
  url.password = 'wrong';
  await expect(query(url.href, 'select 1')).rejects.toThrow('password authentication failed');
});

test('a setting that PostgreSQL refuses is reported in its own words', async () => {
  const dataDirectory = join(await temporaryFolder(), 'data');
  await expect(start({ dataDirectory, settings: { max_connections: 'many' } })).rejects.toThrow(
    /does not start .*invalid value for parameter "max_connections"/s,
  );
});

test('as root it runs on a folder below one that is closed to all others, like its own home', async ({ skip }) => {
  if (process.getuid?.() !== 0 || process.platform !== 'linux') skip('needs root on Linux');
  const closed = await mkdtemp(join(homedir(), 'tollgate-dev-'));
  onTestFinished(() => rm(closed, { recursive: true, force: true }));
  await chmod(closed, 0o700);
  await start({ dataDirectory: join(closed, 'data') });
});

async function start(options: PostgresOptions) {
  const server = await startPostgres({ ...options, settings: { fsync: 'off', ...options.settings } });
  onTestFinished(() => server.stop());
  return server;
}

async function query(url: string, sql: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
