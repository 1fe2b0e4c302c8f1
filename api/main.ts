import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from 'pg';
import { type Logger, pino } from 'pino';
import { apiConfig, ConfigurationError, readConfig } from '../config.ts';
import { createCoalescer } from '../db/coalescer.ts';
import { createCredentials } from '../db/credentials.ts';
import { createKeyUse } from '../db/keyUse.ts';
import { createPool } from '../db/pool.ts';
import { createApp } from './app.ts';
import { databaseCondition } from './databaseCondition.ts';
import { createJobWaiters } from './jobWaiters.ts';
import { createJobWorkflows } from './jobWorkflows.ts';
import { serve } from './server.ts';
import { createSessions } from './sessions.ts';

const PATIENCE_AT_START_MS = 30_000;
const DRAIN_MS = 10_000;

/** What stops the start and can be put right outside: told as a sentence, without a stack. */
class CannotStart extends Error {}

try {
  await main();
} catch (error) {
  const isExplained = error instanceof ConfigurationError || error instanceof CannotStart;
  process.stderr.write(`${isExplained ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const config = readConfig(apiConfig, process.env);
  const log = pino({ level: config.LOG_LEVEL, base: { process: 'api' } });
  const asked = askedToEnd();

  const pool = createPool({
    url: config.DATABASE_URL,
    applicationName: 'tollgate-api',
    maxConnections: config.DATABASE_MAX_CONNECTIONS,
    onError: (error) => log.warn({ reason: error.message }, 'an idle database connection was lost'),
  });
  if ((await Promise.race([untilUsable(pool, log), asked])) !== 'usable') process.exit(0);

  const workflows = createJobWorkflows({
    address: config.TEMPORAL_ADDRESS,
    namespace: config.TEMPORAL_NAMESPACE,
    taskQueue: config.TEMPORAL_TASK_QUEUE,
  });
  const waiters = createJobWaiters({ pool, log });
  const ledger = createCoalescer(pool);
  const keyUse = createKeyUse(pool, {
    onError: (error) => log.warn({ err: error }, 'when keys were used could not be noted'),
  });
  let isDraining = false;
  const app = createApp({
    pool,
    ledger,
    sessions: createSessions(config),
    credentials: createCredentials(pool, keyUse),
    workflows,
    waiters,
    config,
    log,
    isDraining: () => isDraining,
  });
  const server = await serve(app, { host: config.API_HOST, port: config.API_PORT }).catch((error) => {
    throw new CannotStart(`Cannot listen on ${config.API_HOST}:${config.API_PORT}: ${error.message}`);
  });
  log.info({ url: server.url }, 'the API listens');

  const signal = await asked;
  log.info({ signal }, 'the API drains');
  isDraining = true;
  waiters.drain();
  await server.close(DRAIN_MS);
  // After the requests: one that was taken is still answered. Whose connection was cut just now has nobody to tell.
  await ledger.close();
  await keyUse.flush().catch((error) => log.warn({ err: error }, 'when keys were last used could not be noted'));
  await Promise.all([pool.end(), workflows.close()]);
  log.info('the API has drained');
  process.exit(0);
}

/** The first SIGTERM or Ctrl-C. Later ones change nothing: the drain is bounded. */
function askedToEnd(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, resolve);
  });
}

/** The database may be starting, or being migrated, at the same time. */
async function untilUsable(pool: Pool, log: Logger): Promise<'usable'> {
  const giveUpAt = Date.now() + PATIENCE_AT_START_MS;
  for (;;) {
    const condition = await databaseCondition(pool, 5_000);
    if (condition.catalogue === 'matches') return 'usable';
    if (condition.catalogue === 'differs') throw new CannotStart(condition.reason);
    if (Date.now() > giveUpAt) {
      throw new CannotStart(`The database of DATABASE_URL cannot be used: ${condition.reason}`);
    }
    log.info({ reason: condition.reason }, 'waiting for the database');
    await pause(500);
  }
}
