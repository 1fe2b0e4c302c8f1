import { setTimeout as pause } from 'node:timers/promises';
import { Client } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime } from '@temporalio/worker';
import { pino } from 'pino';
import { createGeneration } from '../activities/generation.ts';
import { createOrganizationSignals } from '../activities/organizationSignals.ts';
import { reasonOf } from '../api/reasonOf.ts';
import { ConfigurationError, readConfig, workerConfig } from '../config.ts';
import { assertCatalogue } from '../db/catalogue.ts';
import { createPool } from '../db/pool.ts';
import { createWorker } from './createWorker.ts';
import { type Dispatcher, startDispatcher } from './dispatcher.ts';
import { serveHealth } from './health.ts';
import { ensureSchedules } from './schedules.ts';

const PATIENCE_AT_START_MS = 60_000;
const DAY_MS = 86_400_000;

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
  const config = readConfig(workerConfig, process.env);
  const log = pino({ level: config.LOG_LEVEL, base: { process: 'worker' } });
  Runtime.install({
    // SIGTERM and Ctrl-C drain: no new work, operations in flight get their grace.
    shutdownSignals: ['SIGTERM', 'SIGINT'],
    logger: new DefaultLogger('WARN', ({ level, message, meta }) => {
      log.warn({ temporal: level, workflowId: meta?.workflowId, activityType: meta?.activityType }, message);
    }),
  });

  // The SDK drains the worker, once it runs; the rest is ours.
  let isAskedToEnd = false;
  let dispatcher: Dispatcher | undefined;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      isAskedToEnd = true;
      void dispatcher?.stop();
    });
  }
  const patiently = <T>(what: string, attempt: () => Promise<T>) =>
    untilItAnswers(attempt, (reason) => {
      if (isAskedToEnd) process.exit(0);
      log.info({ reason }, `waiting for ${what}`);
    });

  const pool = createPool({
    url: config.DATABASE_URL,
    applicationName: 'tollgate-worker',
    maxConnections: config.DATABASE_MAX_CONNECTIONS,
    onError: (error) => log.warn({ reason: error.message }, 'an idle database connection was lost'),
  });
  await patiently('the database', () => assertCatalogue(pool));
  const connection = await patiently('Temporal', () => NativeConnection.connect({ address: config.TEMPORAL_ADDRESS }));
  const worker = await createWorker({
    connection,
    namespace: config.TEMPORAL_NAMESPACE,
    taskQueue: config.TEMPORAL_TASK_QUEUE,
    pool,
    generation: createGeneration({ baseUrl: config.AI_BASE_URL, apiKey: config.AI_API_KEY, model: config.AI_MODEL }),
  });
  const client = new Client({ connection, namespace: config.TEMPORAL_NAMESPACE });
  await patiently('the Schedules', () =>
    ensureSchedules(client, {
      taskQueue: config.TEMPORAL_TASK_QUEUE,
      orphanSweepIntervalMs: config.ORPHAN_SWEEP_INTERVAL_MS,
      ledgerSealIntervalMs: config.LEDGER_SEAL_INTERVAL_MS,
      retentionIntervalMs: config.RETENTION_INTERVAL_MS,
    }),
  );
  dispatcher = startDispatcher({
    pool,
    subscribers: [createOrganizationSignals({ client })],
    retentionMs: config.OUTBOX_RETENTION_DAYS * DAY_MS,
    log,
  });
  const health = await serveHealth({
    host: config.WORKER_HEALTH_HOST,
    port: config.WORKER_HEALTH_PORT,
    worker,
    connection,
    pool,
    dispatcher,
  }).catch((error) => {
    throw new CannotStart(
      `Cannot listen on ${config.WORKER_HEALTH_HOST}:${config.WORKER_HEALTH_PORT}: ${error.message}`,
    );
  });

  const running = worker.run();
  log.info({ taskQueue: config.TEMPORAL_TASK_QUEUE }, 'the worker runs');
  if (isAskedToEnd) worker.shutdown();
  await running;
  await dispatcher.stop();
  log.info('the worker has drained');
  health.close();
  health.closeAllConnections();
  await connection.close();
  await pool.end();
}

/** What this process needs may be starting at the same time: ask again for a minute, then give up with the last reason. */
async function untilItAnswers<T>(attempt: () => Promise<T>, onWait: (reason: string) => void): Promise<T> {
  const giveUpAt = Date.now() + PATIENCE_AT_START_MS;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > giveUpAt) throw error;
      // Temporal's client says only what it was doing; the server's reason is the cause.
      onWait(reasonOf(error));
      await pause(500);
    }
  }
}
