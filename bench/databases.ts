import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { createPool } from '../db/pool.ts';
import { countVerified, verify } from '../db/verify.ts';
import { type DatabaseUrls, databaseUrls } from '../dev/databaseUrls.ts';
import { type PostgresServer, startPostgres } from '../dev/embeddedPostgres.ts';
import { createTollgateDatabase } from '../dev/tollgateDatabase.ts';
import { brokenFoilChecks, createFoilTables } from './foilTables.ts';

/** A PostgreSQL of the run's own. Each series gets fresh databases, so that none begins with another's rows. */
export interface Databases {
  /** As the server says. */
  knobs: Record<string, string>;
  folder: string;
  fresh(organizations: number): Promise<BenchDatabase>;
  stop(): Promise<void>;
}

export interface BenchDatabase {
  urls: DatabaseUrls;
  superuser: pg.Pool;
  organizations: string[];
  /** Throws with what does not hold, of ours or of the foil's. */
  verify(): Promise<void>;
  drop(): Promise<void>;
}

/** More than any run spends. */
const TOKENS = 1_000_000_000_000;
const PASSWORDS = { owner: 'owner', api: 'api', worker: 'worker', auditor: 'auditor' };
/** Room for a series between two checkpoints; the rest is PostgreSQL's default. */
const SETTINGS = { shared_buffers: '1GB', max_wal_size: '8GB' };
const MUST_BE_ON = ['fsync', 'synchronous_commit', 'full_page_writes'];

export async function startDatabases(say: (line: string) => void): Promise<Databases> {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-bench-'));
  const postgres = await startIn(folder);
  const templates = new Map<number, Promise<string>>();
  let clones = 0;

  async function template(organizations: number): Promise<string> {
    const database = `template_${organizations}`;
    say(`making a database of ${organizations} organizations …`);
    const urls = await createTollgateDatabase({ superuserUrl: postgres.superuserUrl, database, passwords: PASSWORDS });
    await fill(urls.superuser, organizations);
    return database;
  }

  return {
    knobs: await readKnobs(postgres.superuserUrl()),
    folder,
    async fresh(organizations) {
      if (!templates.has(organizations)) templates.set(organizations, template(organizations));
      const name = `bench_${++clones}`;
      await onServer(
        postgres.superuserUrl(),
        `create database ${name} template ${await templates.get(organizations)} owner tollgate_owner`,
      );
      const urls = databaseUrls(postgres.superuserUrl(name), PASSWORDS);
      const superuser = patientPool(urls.superuser);
      // Nobody's first writes shall pay for the making of the database.
      await superuser.query('checkpoint');
      return {
        urls,
        superuser,
        organizations: Array.from({ length: organizations }, (_, n) => `org-${n + 1}`),
        verify: () => verifyBoth(urls, superuser, say),
        drop: async () => {
          await superuser.end();
          await onServer(postgres.superuserUrl(), `drop database ${name} with (force)`);
        },
      };
    },
    async stop() {
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Whoever presses Ctrl-C, at whatever moment, leaves nothing behind. */
function startIn(folder: string): Promise<PostgresServer> {
  const starting = startPostgres({ dataDirectory: join(folder, 'postgres'), settings: SETTINGS });
  for (const [signal, code] of Object.entries({ SIGINT: 130, SIGTERM: 143 })) {
    process.once(signal, async () => {
      // A start in flight would fill the folder again.
      await starting.then(
        (postgres) => postgres.kill('SIGKILL'),
        () => {},
      );
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
      process.exit(code);
    });
  }
  return starting;
}

async function readKnobs(url: string): Promise<Record<string, string>> {
  const names = ['server_version', 'checkpoint_timeout', 'wal_sync_method', ...MUST_BE_ON, ...Object.keys(SETTINGS)];
  const { rows } = await onServer<{ name: string; setting: string }>(
    url,
    'select name, current_setting(name) as setting from pg_settings where name = any ($1) order by name',
    [names],
  );
  const knobs = Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  for (const name of MUST_BE_ON)
    if (knobs[name] !== 'on') throw new Error(`${name} is ${knobs[name]}: figures without it mean nothing`);
  return knobs;
}

async function fill(superuserUrl: string, organizations: number): Promise<void> {
  const superuser = patientPool(superuserUrl);
  await superuser.query(
    `insert into organizations (id, name, plan) select 'org-' || n, 'Org', 'enterprise' from generate_series(1, $1::integer) n`,
    [organizations],
  );
  await superuser.query(
    `insert into user_profiles (id, organization_id) select 'user-' || o.id, o.id from organizations o`,
  );
  await superuser.query(
    `update ai_tokens set balance = $1 where token_type = 'goal_generation' or organization_id = 'org-1'`,
    [TOKENS],
  );
  // Holds that nobody ends are what some series are made of: they are counted as ever, against a cap that is out of reach.
  await superuser.query('update tollgate.balances set most_open_holds = 2000000000');
  await createFoilTables(superuser);
  await superuser.query('vacuum analyze');
  await superuser.end();
}

async function verifyBoth(urls: DatabaseUrls, superuser: pg.Pool, say: (line: string) => void): Promise<void> {
  say('verifying …');
  const began = performance.now();
  const auditor = createPool({
    url: urls.auditor,
    applicationName: 'tollgate-bench',
    maxConnections: 1,
    queryTimeoutMs: null,
  });
  try {
    // What was just written has no statistics yet, and the checks join it all.
    await superuser.query('analyze');
    const ours = (await verify(auditor)).map(({ sentence, rows }) => `${sentence}: ${JSON.stringify(rows[0])}`);
    const broken = [...ours, ...(await brokenFoilChecks(superuser))];
    if (broken.length > 0) throw new Error(`the invariants do not hold:\n${broken.join('\n')}`);
    const { holds, entries } = await countVerified(auditor);
    const seconds = ((performance.now() - began) / 1_000).toFixed(1);
    say(`verified: ${holds} holds and ${entries} entries of ours, and the foil's sums, in ${seconds} s`);
  } finally {
    await auditor.end();
  }
}

/** A pool without the product's bounds: a database of a million rows is filled and verified by single statements. */
function patientPool(url: string): pg.Pool {
  return new pg.Pool({ connectionString: url, application_name: 'tollgate-bench', max: 4 });
}

async function onServer<Row extends pg.QueryResultRow>(url: string, statement: string, values: unknown[] = []) {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await client.query<Row>(statement, values);
  } finally {
    await client.end();
  }
}
