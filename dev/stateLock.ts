import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

interface Holder {
  pid: number;
  /** When that process began, in its system's own words: pids are given again to others. */
  began: string;
}

/**
 * Makes sure that one stack at a time uses a state folder; returns what gives the folder free. A process that was killed
 * leaves its lock behind, and the next one takes it over.
 */
export async function lockState(stateDirectory: string): Promise<() => Promise<void>> {
  const file = join(stateDirectory, 'lock');
  const mine: Holder = { pid: process.pid, began: (await beginningOf(process.pid)) ?? '' };
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      await writeFile(file, JSON.stringify(mine), { flag: 'wx', mode: 0o600 });
      return () => rm(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const holder = await holderOf(file);
    if (holder && (await beginningOf(holder.pid)) === holder.began) {
      throw new Error(
        `Tollgate already runs in ${stateDirectory} (pid ${holder.pid}). Use that one (its URLs are in stack.json there), or stop it first: kill ${holder.pid}`,
      );
    }
    // Two that find the same stale lock at the same moment could both pass; PostgreSQL's own lock then stops the second.
    await rm(file, { force: true });
  }
  throw new Error(`The lock ${file} changes hands all the time: is something starting Tollgate in a loop?`);
}

async function holderOf(file: string): Promise<Holder | undefined> {
  try {
    return JSON.parse(await readFile(file, 'utf8')) as Holder;
  } catch {
    return undefined;
  }
}

/** Undefined when there is no such process. */
async function beginningOf(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
    // Field 22, ticks since the machine started. The name, field 2, is in brackets and may hold anything.
    return stat
      ?.slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .at(19);
  }
  const listed = await promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]).catch(() => undefined);
  return listed?.stdout.trim() || undefined;
}
