import { readdir, readFile, readlink, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Clears away what a PostgreSQL that was killed has left on its data folder, as far as PostgreSQL does not do so by
 * itself; says whether it had been killed. Throws when one still runs there.
 *
 * Two leftovers stop a new start. Backends that are busy notice the death of their postmaster only when their query
 * ends, and hold the shared memory until then. And a lock file whose pid has gone to another process meanwhile, as after
 * the restart of a container, looks like a running postmaster. Linux can tell who is who: the working directory of every
 * process of PostgreSQL is its data folder. Elsewhere there is only waiting.
 */
export async function clearPostgresLeftovers(dataDirectory: string): Promise<{ wasKilled: boolean }> {
  const lockFile = join(dataDirectory, 'postmaster.pid');
  const postmaster = Number.parseInt(await readFile(lockFile, 'utf8').catch(() => ''), 10);
  if (Number.isNaN(postmaster)) return { wasKilled: false };
  if (process.platform !== 'linux') return { wasKilled: true };

  const folder = await realpath(dataDirectory);
  if ((await workingDirectory(postmaster)) === folder) {
    throw new Error(
      `A PostgreSQL (pid ${postmaster}) already runs on ${dataDirectory}. Stop it first, or use another folder.`,
    );
  }
  for (const pid of (await readdir('/proc')).map(Number)) {
    if (Number.isNaN(pid) || (await workingDirectory(pid)) !== folder || !(await isPostgres(pid))) continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      // It has ended by itself in this moment.
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
  await rm(lockFile, { force: true });
  return { wasKilled: true };
}

/** Undefined for a process that is gone, or is somebody else's. */
function workingDirectory(pid: number): Promise<string | undefined> {
  return readlink(`/proc/${pid}/cwd`).catch(() => undefined);
}

async function isPostgres(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
  return name.trim() === 'postgres';
}
