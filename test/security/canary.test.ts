import { inspect } from 'node:util';
import type { WorkflowHandle } from '@temporalio/client';
import { DefaultLogger, makeTelemetryFilterString, Runtime } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { runJob } from '../../workflows/runJob.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { type JobWish, type JobWorker, startJobWorker } from '../support/jobWorker.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { startWorkerProcess } from '../support/workerProcess.ts';

// S7: what a customer wrote, what the AI answered and the key stand in the database and at the provider, nowhere else.

const PROMPT = 'canary-prompt-2f8d';
const EMAIL = 'canary-email-6b0e@example.com';

let database: TestDatabase;
let worker: JobWorker;
let secrets: string[];
let written: ReturnType<typeof collectWrites>;
/** Whatever Temporal's SDK logs in this process, at its most talkative and with everything that is beside the message. */
const logged: string[] = [];

beforeAll(async () => {
  written = collectWrites();
  Runtime.install({
    logger: new DefaultLogger('TRACE', (entry) => logged.push(inspect(entry, { depth: null, maxStringLength: null }))),
    telemetryOptions: { logging: { filter: makeTelemetryFilterString({ core: 'DEBUG', other: 'INFO' }), forward: {} } },
    shutdownSignals: [],
  });
  database = await freshDatabase();
  worker = await startJobWorker(database);
  // `Stand-in`: every text that the provider answers begins with it.
  secrets = [PROMPT, EMAIL, worker.standIn.apiKey, 'Stand-in'];
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await worker.stop();
  await database.drop();
  written.stop();
});

const jobWith = (directives: string): JobWish => ({
  input: { industry: `${EMAIL} ${directives}`, horizonMonths: 12, context: `${PROMPT}: we sell pumps.` },
});

const FLOWS = [
  ['a job that is charged', jobWith(''), { state: 'charged', tokens: 3, debt: 0 }],
  ['a job that the provider refuses', jobWith('[[stand-in: refuse]]'), { state: 'refunded', code: 'operation_failed' }],
  ['a job that gets garbage first', jobWith('[[stand-in: garbage x1]]'), { state: 'charged', tokens: 3, debt: 0 }],
  ['a job whose connection is cut first', jobWith('[[stand-in: cut x1]]'), { state: 'charged', tokens: 3, debt: 0 }],
] as const;

describe('no canary in Temporal or in what the process writes', () => {
  test.concurrent.each(FLOWS)('%s', async (_, job, end) => {
    const organization = await createOrganization(database.superuser);
    const { handle, jobId } = await worker.run(organization, job);
    expect(await handle.result()).toEqual(end);
    expectSilence('Temporal', await everythingAbout(handle), organization);
    expectSilence('the process', written.text, organization);
    await expectStored(jobId);
  });

  test('a commit that the database refuses', async () => {
    const organization = await createOrganization(database.superuser);
    const { handle, jobId } = await withCommitRefused(
      () => worker.run(organization, jobWith('')),
      async ({ handle }) => {
        await pendingCommit(handle);
        const whilePending = await everythingAbout(handle);
        expect(whilePending).toContain('SQLSTATE 42501');
        expectSilence('Temporal, while it is pending', whilePending, organization);
      },
    );
    expect(await handle.result()).toMatchObject({ state: 'charged' });
    expectSilence('Temporal', await everythingAbout(handle), organization);
    expectSilence('the process', written.text, organization);
    await expectStored(jobId);
  });

  test('nor in any record of the SDK’s log, which did record the failures', () => {
    const all = logged.join('\n');
    expect(all).toContain('Activity failed');
    expect(all).toContain('The AI provider refused the request (HTTP 400).');
    for (const secret of secrets) expect(all).not.toContain(secret);
  });
});

test('no canary in what the worker’s own process writes to stdout and stderr, at its most talkative', async () => {
  const { child, taskQueue, output, ended } = await startWorkerProcess(database, worker.standIn, {
    LOG_LEVEL: 'trace',
  });
  const organization = await createOrganization(database.superuser);
  const start = async (job: JobWish) => {
    const jobId = await worker.admit(organization, job);
    return worker.client.workflow.start<typeof runJob>('runJob', {
      workflowId: `job:${organization.organizationId}:${jobId}`,
      taskQueue,
      args: [{ organizationId: organization.organizationId, jobId }],
    });
  };
  // Waits in the queue until the worker polls.
  await Promise.all(FLOWS.map(async ([, job, end]) => expect(await (await start(job)).result()).toEqual(end)));
  const late = await withCommitRefused(() => start(jobWith('')), pendingCommit);
  expect(await late.result()).toMatchObject({ state: 'charged' });

  child.kill('SIGTERM');
  expect(await ended).toBe(0);
  expect(output()).toContain('the worker runs');
  expect(output()).toContain('Activity failed');
  expectSilence('the worker', output(), organization);
}, 40_000);

/** History with payloads decoded, and what the server tells of the run: pending activities with their last failures. */
async function everythingAbout(handle: WorkflowHandle<typeof runJob>): Promise<string> {
  const { raw } = await handle.describe();
  return JSON.stringify({ history: await handle.fetchHistory(), raw }, (_, value) => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
    return typeof value === 'bigint' ? String(value) : value;
  });
}

/** The check would be empty if the canaries had not come through to where they belong. */
async function expectStored(jobId: string) {
  const { rows } = await database.superuser.query(
    'select j.input::text as input from tollgate.jobs j where j.id = $1',
    [jobId],
  );
  expect(rows[0].input).toContain(PROMPT);
  expect(rows[0].input).toContain(EMAIL);
}

function expectSilence(where: string, text: string, organization: TestOrganization) {
  for (const secret of [...secrets, organization.secret]) {
    expect(text.includes(secret), `${where} holds "${secret}"`).toBe(false);
  }
}

async function withCommitRefused<T>(run: () => Promise<T>, meanwhile: (started: T) => Promise<unknown>): Promise<T> {
  const signature = 'function tollgate.commit_job(text, text)';
  await database.superuser.query(`revoke execute on ${signature} from tollgate_worker`);
  try {
    const started = await run();
    await meanwhile(started);
    return started;
  } finally {
    await database.superuser.query(`grant execute on ${signature} to tollgate_worker`);
  }
}

function pendingCommit(handle: WorkflowHandle<typeof runJob>) {
  return until(async () => {
    const { raw } = await handle.describe();
    return raw.pendingActivities?.find((one) => one.activityType?.name === 'commitJob' && one.lastFailure);
  });
}

/**
 * Collects what this process writes. Vitest puts a console of its own before stdout, so that is listened to as well. The
 * native part of the SDK writes past both: the test of the worker's own process sees that too.
 */
function collectWrites(): { text: string; stop(): void } {
  const collected = {
    text: '',
    stop: () => {
      for (const restore of restores) restore();
    },
  };
  const restores = [process.stdout, process.stderr].map((stream) => {
    const { write } = stream;
    stream.write = ((...given: Parameters<typeof write>) => {
      collected.text += String(given[0]);
      return write.apply(stream, given);
    }) as typeof write;
    return () => {
      stream.write = write;
    };
  });
  for (const method of ['debug', 'log', 'info', 'warn', 'error', 'trace'] as const) {
    const say = console[method];
    console[method] = (...given: unknown[]) => {
      collected.text += inspect(given, { depth: null, maxStringLength: null });
      say(...given);
    };
    restores.push(() => {
      console[method] = say;
    });
  }
  return collected;
}
