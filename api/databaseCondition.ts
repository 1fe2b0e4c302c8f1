import pg from 'pg';
import { assertCatalogue } from '../db/catalogue.ts';

/** `reason` is a sentence for the operator. */
export type DatabaseCondition =
  | { database: 'reachable'; catalogue: 'matches' }
  | { database: 'reachable'; catalogue: 'differs'; reason: string }
  /** It answers, but has no catalogue table that we may read: it is not migrated yet. */
  | { database: 'reachable'; catalogue: 'unknown'; reason: string }
  | { database: 'unreachable'; catalogue: 'unknown'; reason: string };

/** Whether the database answers within `patienceMs`, and whether it holds this code's prices. Never throws. */
export async function databaseCondition(pool: pg.Pool, patienceMs: number): Promise<DatabaseCondition> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${patienceMs} ms`)), patienceMs);
  });
  try {
    // Asked by itself first: a database that answers this and not the next is there, but not as we need it.
    await Promise.race([pool.query('select 1'), late]);
    return await Promise.race([catalogueOf(pool), late]);
  } catch (error) {
    return { database: 'unreachable', catalogue: 'unknown', reason: (error as Error).message };
  } finally {
    clearTimeout(timer);
  }
}

async function catalogueOf(pool: pg.Pool): Promise<DatabaseCondition> {
  try {
    await assertCatalogue(pool);
    return { database: 'reachable', catalogue: 'matches' };
  } catch (error) {
    const { message } = error as Error;
    return error instanceof pg.DatabaseError
      ? { database: 'reachable', catalogue: 'unknown', reason: `${NOT_MIGRATED} (${message})` }
      : { database: 'reachable', catalogue: 'differs', reason: message };
  }
}

const NOT_MIGRATED = 'The database is not migrated. Run `npm run migrate` with DATABASE_OWNER_URL set.';
