import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ProvidedContext } from 'vitest';
import type { TestProject } from 'vitest/node';
import type { DatabasePasswords } from '../../dev/databaseUrls.ts';
import { type PostgresServer, startPostgres } from '../../dev/embeddedPostgres.ts';
import { startTemporalServer } from '../../dev/temporalServer.ts';
import { createTollgateDatabase } from '../../dev/tollgateDatabase.ts';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Login of the superuser to the server's own database `postgres`. */
    superuserUrl: string;
    /** Migrated once; every test file gets a clone of it. */
    templateDatabase: string;
    databasePasswords: DatabasePasswords;
    /** host:port of a Temporal dev server, namespace `default`. */
    temporalAddress: string;
  }
}

const TEMPLATE_DATABASE = 'tollgate_template';

/** No secret: the server listens on loopback and ends with the run. A look at them tells which role a URL is of. */
const DATABASE_PASSWORDS: DatabasePasswords = { owner: 'owner', api: 'api', worker: 'worker', auditor: 'auditor' };

/**
 * One PostgreSQL and one Temporal for the whole run, started together. `TOLLGATE_TEST_POSTGRES_BIN` names the folder of
 * another version's initdb and postgres. `TOLLGATE_TEST_SERVICES` names services that somebody else started and will stop: a
 * ProvidedContext as JSON (test/plants/).
 */
export default async function startServices(project: TestProject): Promise<() => Promise<void>> {
  const { TOLLGATE_TEST_SERVICES } = process.env;
  if (TOLLGATE_TEST_SERVICES !== undefined) {
    const services: ProvidedContext = JSON.parse(TOLLGATE_TEST_SERVICES);
    for (const name of Object.keys(services) as (keyof ProvidedContext)[]) project.provide(name, services[name]);
    return async () => {};
  }

  const folder = await mkdtemp(join(tmpdir(), 'tollgate-test-'));
  const starts = await Promise.allSettled([startMigratedPostgres(folder), startTemporal()]);
  const stop = async () => {
    await Promise.all(starts.map((start) => (start.status === 'fulfilled' ? start.value.stop() : undefined)));
    await rm(folder, { recursive: true, force: true });
  };

  const [postgres, temporal] = starts;
  if (postgres.status === 'rejected' || temporal.status === 'rejected') {
    await stop();
    throw starts.find((start) => start.status === 'rejected')?.reason;
  }
  project.provide('superuserUrl', postgres.value.superuserUrl());
  project.provide('templateDatabase', TEMPLATE_DATABASE);
  project.provide('databasePasswords', DATABASE_PASSWORDS);
  project.provide('temporalAddress', temporal.value.address);
  return stop;
}

async function startMigratedPostgres(folder: string): Promise<PostgresServer> {
  const postgres = await startPostgres({
    dataDirectory: join(folder, 'postgres'),
    binDirectory: process.env.TOLLGATE_TEST_POSTGRES_BIN,
    // Nothing here has to outlive the run. Tests of durability start a server of their own.
    settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off', max_connections: '200' },
  });
  try {
    await createTollgateDatabase({
      superuserUrl: postgres.superuserUrl,
      database: TEMPLATE_DATABASE,
      passwords: DATABASE_PASSWORDS,
    });
    return postgres;
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}

/** Only what takes long is worth a line in the output of the tests. */
function startTemporal() {
  return startTemporalServer({
    say: (line) => {
      if (line.includes('fetch')) console.log(line);
    },
  });
}
