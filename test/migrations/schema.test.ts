import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { dumpSchema } from '../../migrations/dump.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

it('migrations/schema.sql is what the migrations come to', async ({ skip }) => {
  const client = await database.superuser.connect();
  try {
    const { rows } = await client.query("select current_setting('server_version_num')::integer / 10000 as major");
    // Other versions print the same definitions a little differently.
    skip(rows[0].major !== 18, `schema.sql is written on PostgreSQL 18, this is ${rows[0].major}`);
    const committed = await readFile(new URL('../../migrations/schema.sql', import.meta.url), 'utf8').catch(() => '');
    expect(await dumpSchema(client), 'migrations/schema.sql is out of date: run `npm run schema`').toBe(committed);
  } finally {
    client.release();
  }
});
