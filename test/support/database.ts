import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';
import { createPool } from '../../db/pool.ts';
import { type DatabaseUrls, databaseUrls } from '../../dev/databaseUrls.ts';

export interface TestDatabase {
  name: string;
  superuserUrl: string;
  ownerUrl: string;
  apiUrl: string;
  workerUrl: string;
  auditorUrl: string;
  superuser: pg.Pool;
  api: pg.Pool;
  worker: pg.Pool;
  auditor: pg.Pool;
  /** Ends the pools and removes the database, even when somebody is still connected to it. */
  drop(): Promise<void>;
}

/** A migrated database of the calling file's own. Pools connect at first use, so an unused one costs nothing. */
export async function freshDatabase(): Promise<TestDatabase> {
  const serverUrl = inject('superuserUrl');
  const template = inject('templateDatabase');
  const name = `test_${process.pid}_${randomBytes(4).toString('hex')}`;
  await onServer(serverUrl, async (client) => {
    await client.query(`create database ${name} template ${template} owner tollgate_owner`);
    await copySettings(client, template, name);
  });

  const serverDatabase = new URL(serverUrl);
  serverDatabase.pathname = `/${name}`;
  const urls = databaseUrls(serverDatabase.href, inject('databasePasswords'));
  const pools = {
    superuser: testPool(urls.superuser),
    api: testPool(urls.api),
    worker: testPool(urls.worker),
    auditor: testPool(urls.auditor),
  };
  return {
    name,
    ...namedUrls(urls),
    ...pools,
    drop: async () => {
      await Promise.all(Object.values(pools).map((pool) => pool.end()));
      await onServer(serverUrl, (client) => client.query(`drop database if exists ${name} with (force)`));
    },
  };
}

function namedUrls(urls: DatabaseUrls) {
  return {
    superuserUrl: urls.superuser,
    ownerUrl: urls.owner,
    apiUrl: urls.api,
    workerUrl: urls.worker,
    auditorUrl: urls.auditor,
  };
}

/** A clone gets the template's contents, but neither its rights to connect nor its `alter … set` settings. */
async function copySettings(client: pg.Client, template: string, name: string): Promise<void> {
  const { rows } = await client.query<{ statement: string }>(
    `select pg_catalog.format('alter %s set %I to %s',
              case when setting.setrole = 0 then pg_catalog.format('database %I', $2::text)
                   else pg_catalog.format('role %s in database %I', setting.setrole::regrole, $2::text) end,
              pg_catalog.split_part(entry, '=', 1),
              pg_catalog.quote_literal(pg_catalog.substr(entry, pg_catalog.strpos(entry, '=') + 1))) as statement
       from pg_catalog.pg_db_role_setting as setting
       join pg_catalog.pg_database as template on template.oid = setting.setdatabase
      cross join unnest(setting.setconfig) as entry
      where template.datname = $1`,
    [template, name],
  );
  for (const { statement } of rows) await client.query(statement);

  const rights = await client.query<{ statement: string }>(
    `select pg_catalog.format('grant %s on database %I to %s', entry.privilege_type, $2::text,
              case when entry.grantee = 0 then 'public' else entry.grantee::regrole::text end) as statement
       from pg_catalog.pg_database as template, pg_catalog.aclexplode(template.datacl) as entry
      where template.datname = $1`,
    [template, name],
  );
  if (rights.rows.length === 0) return;
  await client.query(`revoke all on database ${name} from public`);
  for (const { statement } of rights.rows) await client.query(statement);
}

async function onServer<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The product's own pool, so that amounts arrive as they do in production; wider, because tests call in parallel. */
function testPool(url: string): pg.Pool {
  return createPool({ url, applicationName: 'tollgate-test', maxConnections: 20 });
}
