import { setTimeout as pause } from 'node:timers/promises';
import pg from 'pg';
import { isBeforeConnection } from './pool.ts';

/**
 * The database cannot do it now: away, restarting, read-only, full, out of connections, or the statement waited too long.
 * Whether a statement in flight took effect is unknown. Repeating it under the same ids is always safe.
 */
export class DatabaseFault extends Error {
  override readonly name = 'DatabaseFault';
  readonly sqlState: string | null;
  constructor(cause: unknown) {
    super('The database is not available.', { cause });
    this.sqlState = cause instanceof pg.DatabaseError ? (cause.code ?? null) : null;
  }

  /**
   * Whether the statement may have taken effect: the connection was lost, or ended by the server, which may do so between a
   * commit and its answer. Any other error that the server told us undid the statement, and who had no connection sent none.
   */
  get isInDoubt(): boolean {
    if (isBeforeConnection(this.cause)) return false;
    return this.sqlState === null || /^(08|57P01|57P02)/.test(this.sqlState);
  }
}

/**
 * The database refused a row or a statement by its rights and policies. The functions refuse foreign rows in words before
 * it comes to that: this is the second line, and whoever meets it is told that the organization is not his.
 */
export function isRefusedByRights(error: unknown): boolean {
  return error instanceof pg.DatabaseError && error.code === '42501';
}

/** Connection trouble (08), resources (53), operator intervention (57), read-only (25006), lock timeout (55P03). */
const FAULT_STATES = /^(08|53|57|25006|55P03)/;
/** Serialization failure and deadlock; and two connections that placed one hold id at the same moment. */
const COLLISION_STATES = /^(40|23505$)/;
const ATTEMPTS = 4;

/**
 * Runs one call of a money function. Collisions with neighbours are repeated a few times with jitter, under the same ids;
 * after that, and for every other trouble that is the database's own, a DatabaseFault is thrown. An error in the
 * statement itself is a bug and passes through.
 */
export async function call<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run();
    } catch (error) {
      const state = error instanceof pg.DatabaseError ? (error.code ?? '') : null;
      if (state !== null && COLLISION_STATES.test(state) && attempt < ATTEMPTS) {
        await pause(Math.random() * 20 * 2 ** attempt);
        continue;
      }
      // What is no DatabaseError comes from the driver: a refused, lost or timed-out connection.
      if (state === null || FAULT_STATES.test(state) || state.startsWith('40')) {
        if (state === null && !isConnectionTrouble(error)) throw error;
        throw new DatabaseFault(error);
      }
      throw error;
    }
  }
}

/** The driver's own errors are plain Errors or system errors; a TypeError or RangeError is our bug. */
function isConnectionTrouble(error: unknown): boolean {
  return error instanceof Error && error.constructor === Error
    ? true
    : error instanceof AggregateError || (error as NodeJS.ErrnoException)?.syscall !== undefined;
}
