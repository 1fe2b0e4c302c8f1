import { setTimeout as pause } from 'node:timers/promises';
import type { Exit } from './tetheredProcess.ts';

/** A running process as the supervisor sees it. */
export interface RunningPart {
  pid: number;
  exited: Promise<Exit>;
  /** False when it is gone already. */
  kill(signal: NodeJS.Signals): boolean;
  stop(): Promise<void>;
}

export interface SupervisedPart {
  /** Of the process that runs now; the one that ran last, while the next is being started. */
  pid(): number;
  /** False when nothing runs at this moment, because it is being started again. */
  kill(signal: NodeJS.Signals): boolean;
  /** Resolves once a process runs that was started after the last `kill` (without one: after this call). */
  restarted(): Promise<void>;
  /** Ends the process, and the supervision first: it is not started again. */
  stop(): Promise<void>;
}

export interface SupervisorOptions {
  /** As people call it: "PostgreSQL". */
  name: string;
  /** Resolves when the part is ready for work. */
  start: () => Promise<RunningPart>;
  say: (line: string) => void;
}

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;
/** Who stayed up this long has recovered: the next exit is a new trouble, with a short pause again. */
const RECOVERED_AFTER_MS = 10_000;

/**
 * Starts a part and keeps it up: whenever it ends without having been asked to, it is started again, after a pause that
 * doubles as long as that does not help. The first start is the caller's: if it fails, so does this.
 */
export async function supervise({ name, start, say }: SupervisorOptions): Promise<SupervisedPart> {
  let part = await start();
  /** How many starts there have been, so that "restarted" means a later one, whenever it is asked. */
  let starts = 1;
  let startsAtKill: number | undefined;
  let waiting: { after: number; resolve: () => void }[] = [];
  let isUp = true;
  const stopping = new AbortController();
  const watching = watch();

  async function watch(): Promise<void> {
    let pauseMs = FIRST_PAUSE_MS;
    let startedAt = performance.now();
    while (!stopping.signal.aborted) {
      const exit = await part.exited;
      isUp = false;
      if (stopping.signal.aborted) return;
      if (performance.now() - startedAt > RECOVERED_AFTER_MS) pauseMs = FIRST_PAUSE_MS;
      let trouble = `ended unexpectedly (${exit.signal ?? `exit code ${exit.code}`})`;
      while (!isUp) {
        say(`${name} ${trouble}; starting it again in ${pauseMs} ms`);
        await pause(pauseMs, undefined, { signal: stopping.signal }).catch(() => {});
        if (stopping.signal.aborted) return;
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
        try {
          part = await start();
          isUp = true;
        } catch (error) {
          trouble = `did not start: ${error instanceof Error ? error.message : error}`;
        }
      }
      startedAt = performance.now();
      starts += 1;
      if (!stopping.signal.aborted) say(`${name} runs again (pid ${part.pid})`);
      for (const waiter of waiting.filter(({ after }) => starts > after)) waiter.resolve();
      waiting = waiting.filter(({ after }) => starts <= after);
    }
  }

  return {
    pid: () => part.pid,
    kill(signal) {
      startsAtKill = starts;
      // Until we have been told of its exit, the pid cannot have gone to another process.
      return isUp && part.kill(signal);
    },
    restarted() {
      const after = startsAtKill ?? starts;
      if (starts > after) return Promise.resolve();
      return new Promise((resolve) => waiting.push({ after, resolve }));
    },
    async stop() {
      stopping.abort();
      // A start that is under way is awaited, or what it starts would be left over.
      if (!isUp) await watching;
      await part.stop();
      await watching;
    },
  };
}
