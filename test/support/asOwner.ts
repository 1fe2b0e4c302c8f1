import pg from 'pg';
import type { TestDatabase } from './database.ts';

/** Runs one statement as the owner of the database, whose tools some functions are. Amounts arrive as PostgreSQL writes them. */
export async function asOwner({ ownerUrl }: Pick<TestDatabase, 'ownerUrl'>, sql: string, values: unknown[]) {
  const owner = new pg.Client({ connectionString: ownerUrl });
  await owner.connect();
  try {
    return (await owner.query(sql, values)).rows;
  } finally {
    await owner.end();
  }
}
