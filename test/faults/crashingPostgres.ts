import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Pool } from 'pg';
import { createPool } from '../../db/pool.ts';
import type { DatabaseUrls } from '../../dev/databaseUrls.ts';
import { type PostgresServer, startPostgres } from '../../dev/embeddedPostgres.ts';
import { freePort } from '../../dev/ports.ts';
import { createTollgateDatabase } from '../../dev/tollgateDatabase.ts';

/** A PostgreSQL of a test's own, with a migrated database in it, that may be ended in any way and comes back as it was. */
export interface CrashingPostgres {
  dataDirectory: string;
  urls: DatabaseUrls;
  superuserUrl: (database?: string) => string;
  superuser: Pool;
  /** Every process of it gets SIGKILL in the same moment: none is left that could still write, answer or clean up. */
  kill(): Promise<void>;
  /** In good order, as an operator would. */
  shutDown(): Promise<void>;
  isRunning(): boolean;
  /** On the same folder and port. */
  start(): Promise<void>;
  /** Ends it for good and removes what it left. */
  remove(): Promise<void>;
}

const PASSWORDS = { owner: 'owner', api: 'api', worker: 'worker', auditor: 'auditor' };

export async function startCrashingPostgres(
  settings: Readonly<Record<string, string>> = {},
): Promise<CrashingPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-crash-'));
  // PostgreSQL may run as another user, who has to pass through.
  await chmod(folder, 0o711);
  const dataDirectory = join(folder, 'data');
  const port = await freePort();
  const start = async () => {
    const started = await startPostgres({ dataDirectory, port, settings });
    isRunning = true;
    void started.exited.then(() => {
      isRunning = false;
    });
    return started;
  };
  let isRunning = false;
  let server: PostgresServer = await start();
  const urls = await createTollgateDatabase({
    superuserUrl: server.superuserUrl,
    database: 'tollgate',
    passwords: PASSWORDS,
  });
  const superuser = createPool({ url: urls.superuser, applicationName: 'crash-superuser', queryTimeoutMs: null });
  return {
    dataDirectory,
    urls,
    superuserUrl: server.superuserUrl,
    superuser,
    kill: async () => {
      // Without a turn of the event loop: whoever calls this in a certain moment means it. The postmaster first: it would
      // take the death of a child for a crash, and act.
      for (const pid of [server.pid, ...childrenOf(server.pid)]) killNow(pid);
      await server.exited;
    },
    shutDown: () => server.stop(),
    isRunning: () => isRunning,
    start: async () => {
      server = await start();
    },
    remove: async () => {
      await superuser.end();
      await server.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function childrenOf(parent: number): number[] {
  try {
    // Microseconds, where the kernel has it.
    return readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(' ').map(Number);
  } catch {
    const processes = execFileSync('ps', ['-A', '-o', 'pid=,ppid='], { encoding: 'utf8' }).split('\n');
    const ids = processes.map((line) => line.trim().split(/\s+/).map(Number));
    return ids.filter(([, ppid]) => ppid === parent).map(([pid]) => pid!);
  }
}

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    // A backend that has ended by itself since.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
