import { fileURLToPath } from 'node:url';
import { Client } from '@temporalio/client';
import { type NativeConnection, Worker, type WorkerInterceptors, type WorkerOptions } from '@temporalio/worker';
import type { Pool } from 'pg';
import type { Generation } from '../activities/generation.ts';
import { createJobSteps } from '../activities/jobSteps.ts';
import { createLedgerSealing } from '../activities/ledgerSealing.ts';
import { createOperation } from '../activities/operation.ts';
import { createOrphanSweep } from '../activities/orphanSweep.ts';
import { createRetentionSteps } from '../activities/retention.ts';

/** The only place that joins workflows to activities. */
export function createWorker(options: {
  connection: NativeConnection;
  namespace: string;
  taskQueue: string;
  pool: Pool;
  generation: Generation;
  workflowBundle?: WorkerOptions['workflowBundle'];
  interceptors?: WorkerInterceptors;
}): Promise<Worker> {
  const { connection, namespace, taskQueue, pool, generation, workflowBundle, interceptors } = options;
  const client = new Client({ connection, namespace });
  return Worker.create({
    connection,
    namespace,
    taskQueue,
    activities: {
      ...createJobSteps({ pool }),
      ...createOperation({ pool, generation }),
      ...createOrphanSweep({ pool, client }),
      ...createLedgerSealing({ pool }),
      ...createRetentionSteps({ pool }),
    },
    ...(workflowBundle === undefined ? { workflowsPath } : { workflowBundle }),
    ...(interceptors === undefined ? {} : { interceptors }),
    // A cancellation reaches an activity with its next heartbeat; the default would hold heartbeats back for longer.
    maxHeartbeatThrottleInterval: '1s',
    // After SIGTERM, operations in flight may still finish for this long; then they are interrupted and tried again.
    shutdownGraceTime: '10s',
    shutdownForceTime: '18s',
  });
}

export const workflowsPath = fileURLToPath(new URL('../workflows/index.ts', import.meta.url));
