import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import { inject, onTestFinished } from 'vitest';
import { freePort } from '../../dev/ports.ts';
import type { TestDatabase } from './database.ts';

export interface WorkerProcess {
  child: ChildProcess;
  taskQueue: string;
  healthUrl: string;
  /** Everything written to stdout and stderr so far. */
  output(): string;
  /** Its exit code, once it has ended. */
  ended: Promise<number | null>;
}

let count = 0;

/** `worker/main.ts` in a process of its own, on a task queue of its own. Gone, with its Schedules, when the test is over. */
export async function startWorkerProcess(
  database: TestDatabase,
  ai: { baseUrl: string; apiKey: string; model: string },
  environment: NodeJS.ProcessEnv = {},
): Promise<WorkerProcess> {
  count += 1;
  const taskQueue = `worker-process-${process.pid}-${count}`;
  const healthPort = await freePort();
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../worker/main.ts', import.meta.url))], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: database.workerUrl,
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_TASK_QUEUE: taskQueue,
      WORKER_HEALTH_PORT: String(healthPort),
      ORPHAN_SWEEP_INTERVAL_MS: '86400000',
      LEDGER_SEAL_INTERVAL_MS: '86400000',
      RETENTION_INTERVAL_MS: '86400000',
      AI_BASE_URL: ai.baseUrl,
      AI_API_KEY: ai.apiKey,
      AI_MODEL: ai.model,
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const ended = once(child, 'close').then(([code]) => code as number | null);
  onTestFinished(async () => {
    child.kill('SIGKILL');
    const connection = await Connection.connect({ address: inject('temporalAddress') });
    // Other files share this Temporal: nothing may fire on a queue that nobody polls any more.
    const { schedule } = new Client({ connection });
    for (const workflow of ['settleOrphanedJobs', 'sealLedger', 'applyRetention']) {
      await schedule
        .getHandle(`${workflow}:${taskQueue}`)
        .delete()
        .catch(() => {});
    }
    await connection.close();
  });
  return { child, taskQueue, healthUrl: `http://127.0.0.1:${healthPort}`, output: () => output, ended };
}
