import pg from 'pg';
import { migrate } from '../migrations/migrate.ts';
import { type DatabasePasswords, type DatabaseUrls, databaseUrls } from './databaseUrls.ts';

export interface TollgateDatabaseOptions {
  superuserUrl: (database?: string) => string;
  database: string;
  passwords: DatabasePasswords;
  say?: (line: string) => void;
}

/**
 * Creates the database where it is missing, owned by `tollgate_owner`, and migrates it. Safe to repeat.
 *
 * The owner is no superuser, as on any hosted PostgreSQL: what the migrations may do here, they may do there. Creating
 * roles is the one right that it has beyond its own database.
 */
export async function createTollgateDatabase(options: TollgateDatabaseOptions): Promise<DatabaseUrls> {
  const { superuserUrl, database, passwords, say } = options;
  const client = new pg.Client({ connectionString: superuserUrl() });
  await client.connect();
  try {
    const role = await client.query(`select from pg_catalog.pg_roles where rolname = 'tollgate_owner'`);
    await client.query(
      `${role.rowCount ? 'alter' : 'create'} role tollgate_owner login createrole password ${client.escapeLiteral(passwords.owner)}`,
    );
    const found = await client.query('select from pg_catalog.pg_database where datname = $1', [database]);
    if (!found.rowCount)
      await client.query(`create database ${client.escapeIdentifier(database)} owner tollgate_owner`);
  } finally {
    await client.end();
  }
  const urls = databaseUrls(superuserUrl(database), passwords);
  await migrate({
    ownerUrl: urls.owner,
    rolePasswords: {
      tollgate_api: passwords.api,
      tollgate_worker: passwords.worker,
      tollgate_auditor: passwords.auditor,
    },
    ...(say ? { say } : {}),
  });
  return urls;
}
