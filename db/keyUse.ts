import type { Pool } from 'pg';
import { call } from './faults.ts';

/** When keys were last used, kept without a write in any request. */
export interface KeyUse {
  note(keyId: string): void;
  /** Writes what was noted. Rejects with DatabaseFault; what could not be written is kept for the next time. */
  flush(): Promise<void>;
}

/** So lastUsedAt is exact to a minute: a write may fail a few times, and take a while. */
const WRITE_EVERY_MS = 10_000;
/** Ids of 36 characters: a few megabytes. Whose key is the next one is not noted until these are written. */
const MOST_KEYS = 20_000;

/**
 * Gathers the ids of keys that were used and writes them in one statement, ten seconds after the first of them. A process in which
 * no key is used has no timer, and one that is killed loses what it gathered.
 */
export function createKeyUse(
  pool: Pool,
  { writeEveryMs = WRITE_EVERY_MS, onError }: { writeEveryMs?: number; onError: (error: unknown) => void },
): KeyUse {
  let used = new Set<string>();
  let timer: NodeJS.Timeout | null = null;

  function schedule(): void {
    timer ??= setTimeout(() => {
      timer = null;
      flush().catch(onError);
    }, writeEveryMs).unref();
  }

  async function flush(): Promise<void> {
    if (timer !== null) clearTimeout(timer);
    timer = null;
    if (used.size === 0) return;
    const ids = used;
    used = new Set();
    try {
      await call(() => pool.query('select tollgate.note_key_use($1)', [[...ids]]));
    } catch (error) {
      for (const id of ids) note(id);
      throw error;
    }
  }

  function note(keyId: string): void {
    if (used.size < MOST_KEYS) used.add(keyId);
    schedule();
  }

  return { note, flush };
}
