import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { dumpSchema } from '../migrations/dump.ts';
import { startPostgres } from './embeddedPostgres.ts';
import { createTollgateDatabase } from './tollgateDatabase.ts';

/** `npm run schema`: migrates an empty database of the embedded PostgreSQL and writes what it has become to schema.sql. */
const folder = await mkdtemp(join(tmpdir(), 'tollgate-schema-'));
const postgres = await startPostgres({ dataDirectory: join(folder, 'postgres'), settings: { fsync: 'off' } });
try {
  await createTollgateDatabase({
    superuserUrl: postgres.superuserUrl,
    database: 'tollgate',
    passwords: { owner: 'owner', api: 'api', worker: 'worker', auditor: 'auditor' },
  });
  const client = new pg.Client({ connectionString: postgres.superuserUrl('tollgate') });
  await client.connect();
  try {
    await writeFile(new URL('../migrations/schema.sql', import.meta.url), await dumpSchema(client));
  } finally {
    await client.end();
  }
  console.log('Wrote migrations/schema.sql');
} finally {
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}
