import { randomUUID } from 'node:crypto';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { bundleWorkflowCode, DefaultLogger, NativeConnection, Runtime, type Worker } from '@temporalio/worker';
import type { Pool } from 'pg';
import { inject } from 'vitest';
import { createGeneration } from '../../activities/generation.ts';
import { admitJob } from '../../db/jobs.ts';
import { startAiStandIn } from '../../dev/aiStandIn.ts';
import type { Feature } from '../../domain/catalog.ts';
import { jobWorkflowId } from '../../domain/ids.ts';
import { createWorker, workflowsPath } from '../../worker/createWorker.ts';
import type { runJob } from '../../workflows/runJob.ts';
import type { TestDatabase } from './database.ts';
import type { TestOrganization } from './organization.ts';

/** Stands in the way of one activity: called instead of it, with the real call at hand. */
export type Intercept = (activity: { name: string; attempt: number; run: () => Promise<unknown> }) => Promise<unknown>;

export interface JobWorker {
  client: Client;
  taskQueue: string;
  standIn: Awaited<ReturnType<typeof startAiStandIn>>;
  /** From now on this is asked before every activity; null lets them pass. */
  intercept(by: Intercept | null): void;
  /** Admits a job as the API would. */
  admit(organization: TestOrganization, job?: JobWish): Promise<string>;
  /** Starts the workflow of an admitted job. */
  start(organization: TestOrganization, jobId: string): Promise<WorkflowHandle<typeof runJob>>;
  /** Admits and starts. */
  run(organization: TestOrganization, job?: JobWish): Promise<{ jobId: string; handle: WorkflowHandle<typeof runJob> }>;
  stop(): Promise<void>;
}

export interface JobWish {
  feature?: Feature;
  input?: unknown;
  timeBudgetMs?: number;
  holdLifetimeMs?: number;
}

let bundle: ReturnType<typeof bundleWorkflowCode> | undefined;

/** A real worker in this process, on a task queue of its own, with the real AI client talking to the stand-in. */
export async function startJobWorker(database: TestDatabase): Promise<JobWorker> {
  const logger = new DefaultLogger('ERROR');
  try {
    Runtime.install({ logger, shutdownSignals: [] });
  } catch {
    // Installed by another test of this process already.
  }
  bundle ??= bundleWorkflowCode({ workflowsPath, logger });
  const taskQueue = `test-${randomUUID()}`;
  const standIn = await startAiStandIn();
  const address = inject('temporalAddress');
  const connection = await NativeConnection.connect({ address });
  const clientConnection = await Connection.connect({ address });
  const client = new Client({ connection: clientConnection });
  let present: Intercept | null = null;
  const worker: Worker = await createWorker({
    connection,
    namespace: 'default',
    taskQueue,
    pool: database.worker,
    generation: createGeneration({ baseUrl: standIn.baseUrl, apiKey: standIn.apiKey, model: standIn.model }),
    workflowBundle: await bundle,
    interceptors: {
      activity: [
        (context) => ({
          inbound: {
            execute: (input, next) =>
              present === null
                ? next(input)
                : present({ name: context.info.activityType, attempt: context.info.attempt, run: () => next(input) }),
          },
        }),
      ],
    },
  });
  const running = worker.run();

  const admit = (organization: TestOrganization, job: JobWish = {}) => admitTestJob(database.api, organization, job);
  const start = (organization: TestOrganization, jobId: string) => {
    const { organizationId } = organization;
    return client.workflow.start<typeof runJob>('runJob', {
      workflowId: jobWorkflowId(organizationId, jobId),
      taskQueue,
      args: [{ organizationId, jobId }],
      workflowIdReusePolicy: 'REJECT_DUPLICATE',
    });
  };
  return {
    client,
    taskQueue,
    standIn,
    intercept: (by) => {
      present = by;
    },
    admit,
    start,
    run: async (organization, job) => {
      const jobId = await admit(organization, job);
      return { jobId, handle: await start(organization, jobId) };
    },
    stop: async () => {
      present = null;
      worker.shutdown();
      await running;
      await connection.close();
      await clientConnection.close();
      await standIn.stop();
    },
  };
}

/** Admits a job as the API would; throws when it is refused. */
export async function admitTestJob(api: Pool, organization: TestOrganization, job: JobWish = {}): Promise<string> {
  const jobId = randomUUID();
  const admission = await admitJob(api, {
    organizationId: organization.organizationId,
    principal: organization.principal,
    jobId,
    feature: job.feature ?? 'generate_goal',
    input: job.input ?? { industry: 'logistics', horizonMonths: 12 },
    idempotencyKey: jobId,
    requestHash: Buffer.alloc(32),
    holdLifetimeMs: job.holdLifetimeMs ?? 60_000,
    timeBudgetMs: job.timeBudgetMs ?? 60_000,
  });
  if (admission.outcome !== 'admitted') throw new Error(`not admitted: ${admission.outcome}`);
  return jobId;
}
