import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createMemoryQueue, type OutageQueue, type QueuedUse, type RefusedUse } from './outageQueue.ts';

type Line =
  | { act: 'add'; use: QueuedUse }
  | { act: 'refuse'; idempotencyKey: string; why: { code: string; detail: string } }
  | { act: 'remove'; idempotencyKey: string };

/** A queue in a file, and how to let go of it. */
export interface FileQueue extends OutageQueue {
  close(): Promise<void>;
}

/**
 * Keeps uses in a file, one line for each thing that happens to one, so that a restart loses nothing: `add` answers once the line
 * is on the disk. A file belongs to one process at a time; another one that opens it is refused while the first one lives. A last line that a crash cut off was never
 * acknowledged, and is dropped.
 */
export async function openFileQueue(path: string): Promise<FileQueue> {
  await mkdir(dirname(path), { recursive: true });
  await lock(`${path}.lock`);
  const memory = createMemoryQueue();
  try {
    for (const line of linesOf(await readFile(path, 'utf8').catch(emptyWhereMissing))) await take(memory, line);
    await rewrite(path, [
      ...(await memory.refused()).flatMap(writtenAgain),
      ...(await memory.waiting()).map((use) => ({ act: 'add', use }) as const),
    ]);
    const file = await open(path, 'a');
    // One after the other: what is answered first stands first.
    let last: Promise<unknown> = Promise.resolve();
    const keep = (line: Line): Promise<void> => {
      const kept = last.then(async () => {
        await file.appendFile(`${JSON.stringify(line)}\n`);
        await file.datasync();
        await take(memory, line);
      });
      last = kept.catch(() => {});
      return kept;
    };
    return {
      add: (use) => keep({ act: 'add', use }),
      waiting: memory.waiting,
      refuse: (idempotencyKey, why) => keep({ act: 'refuse', idempotencyKey, why }),
      refused: memory.refused,
      remove: (idempotencyKey) => keep({ act: 'remove', idempotencyKey }),
      close: async () => {
        await last;
        await file.close();
        await unlock(`${path}.lock`);
      },
    };
  } catch (error) {
    await unlock(`${path}.lock`);
    throw error;
  }
}

function take(memory: OutageQueue, line: Line): Promise<void> {
  switch (line.act) {
    case 'add':
      return memory.add(line.use);
    case 'refuse':
      return memory.refuse(line.idempotencyKey, line.why);
    case 'remove':
      return memory.remove(line.idempotencyKey);
  }
}

function writtenAgain({ code, detail, ...use }: RefusedUse): Line[] {
  return [
    { act: 'add', use },
    { act: 'refuse', idempotencyKey: use.idempotencyKey, why: { code, detail } },
  ];
}

/** A line that is whole ends. What is cut off in the middle of the file is not a crash's doing, and is not passed over. */
function linesOf(text: string): Line[] {
  return text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

/** What is settled is left out. The old file stands until the new one is whole. */
async function rewrite(path: string, lines: Line[]): Promise<void> {
  const file = await open(`${path}.new`, 'w', 0o600);
  await file.writeFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  await file.sync();
  await file.close();
  await rename(`${path}.new`, path);
  const folder = await open(dirname(path), 'r');
  // The new name too has to be on the disk.
  await folder.sync().finally(() => folder.close());
}

async function lock(path: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      const file = await open(path, 'wx', 0o600);
      await file.writeFile(String(process.pid));
      lockedHere.add(path);
      return await file.close();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const pid = Number(await readFile(path, 'utf8').catch(emptyWhereMissing));
    // In a container every start has the same pid: a lock of one's own pid is of the run before, unless this run has taken it.
    if (attempt > 3 || (pid === process.pid && lockedHere.has(path)) || (pid !== process.pid && isRunning(pid))) {
      throw new Error(`The queue's file is in use by process ${pid}. Give each process a file of its own (${path}).`);
    }
    await rm(path, { force: true });
  }
}

const lockedHere = new Set<string>();

async function unlock(path: string): Promise<void> {
  lockedHere.delete(path);
  await rm(path, { force: true });
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function emptyWhereMissing(error: NodeJS.ErrnoException): string {
  if (error.code === 'ENOENT') return '';
  throw error;
}
