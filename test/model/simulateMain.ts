import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createPool } from '../../db/pool.ts';
import { type PostgresServer, startPostgres } from '../../dev/embeddedPostgres.ts';
import { createTollgateDatabase } from '../../dev/tollgateDatabase.ts';
import { expectInvariants } from '../support/invariants.ts';
import { checkSchedules, sharesOf } from './schedules.ts';

/**
 * `npm run simulate -- --ledger [--runs 1000] [--seed N]`: random schedules on an own PostgreSQL against the pure model of
 * the ledger. Exit 1 at the first that the model cannot explain, with its seed and its smallest form.
 */
const { values } = parseArgs({
  options: { ledger: { type: 'boolean' }, runs: { type: 'string', default: '1000' }, seed: { type: 'string' } },
});
const runs = Number(values.runs);
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
if (!values.ledger || !Number.isSafeInteger(runs) || runs < 1 || !Number.isSafeInteger(firstSeed)) {
  console.error('Usage: npm run simulate -- --ledger [--runs 1000] [--seed N]');
  process.exit(2);
}

/** Schedules that share a database and a seed: a database stays small, and a seed that fails is soon found again. */
const BLOCK = 200;

const folder = await mkdtemp(join(tmpdir(), 'tollgate-simulate-'));
const postgres = await startPostgres({
  dataDirectory: join(folder, 'postgres'),
  settings: { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' },
});
try {
  let [played, givenUp] = [0, 0];
  for (let block = 0; played < runs && process.exitCode === undefined; block++) {
    const wanted = Math.min(BLOCK, runs - played);
    const { failure, ...searches } = await playBlock(postgres, `block_${block}`, wanted, firstSeed + block);
    played += wanted;
    givenUp += searches.givenUp;
    if (failure === null) console.log(`${played} of ${runs} schedules explained (seed ${firstSeed + block})`);
    else {
      console.error(`${failure}\n✗ again: npm run simulate -- --ledger --runs ${wanted} --seed ${firstSeed + block}`);
      process.exitCode = 1;
    }
  }
  console.log(
    givenUp === 0
      ? 'No search for an order was given up.'
      : `${givenUp} searches for an order were given up: of those nothing is known but that the books agree.`,
  );
  process.exitCode ??= 0;
} finally {
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
}

async function playBlock(
  server: PostgresServer,
  name: string,
  runs: number,
  seed: number,
): Promise<{ failure: string | null; givenUp: number }> {
  const urls = await createTollgateDatabase({
    superuserUrl: server.superuserUrl,
    database: name,
    passwords: { owner: 'owner', api: 'api', worker: 'worker', auditor: 'auditor' },
  });
  const poolOf = (url: string) => createPool({ url, applicationName: 'tollgate-simulate', maxConnections: 20 });
  let givenUp = 0;
  const database = { superuser: poolOf(urls.superuser), api: poolOf(urls.api), apiUrl: urls.api };
  try {
    for (const share of sharesOf(runs)) {
      const checked = await checkSchedules(database, share.kind, { runs: share.runs, seed });
      givenUp += checked.givenUp;
      if (checked.failure !== null) return { failure: checked.failure, givenUp };
    }
    await expectInvariants(database.superuser);
    return { failure: null, givenUp };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : `${error}`, givenUp };
  } finally {
    await Promise.all([database.superuser.end(), database.api.end()]);
  }
}
