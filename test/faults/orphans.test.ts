import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { beginJob, commitJob, findJob, storeResult } from '../../db/jobs.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { gateAt } from '../support/gate.ts';
import { expectInvariants } from '../support/invariants.ts';
import { type JobWish, type JobWorker, startJobWorker } from '../support/jobWorker.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let worker: JobWorker;
let sweeps = 0;

beforeAll(async () => {
  database = await freshDatabase();
  worker = await startJobWorker(database);
});
afterEach(() => worker.intercept(null));
afterAll(async () => {
  await expectInvariants(database.superuser);
  await worker.stop();
  await database.drop();
});

/** What the Schedule does, now. */
async function sweep(): Promise<{ seen: number; settled: number }> {
  sweeps += 1;
  return worker.client.workflow.execute('settleOrphanedJobs', {
    taskQueue: worker.taskQueue,
    workflowId: `sweep-${worker.taskQueue}-${sweeps}`,
  });
}

async function stateOf({ organizationId }: TestOrganization, jobId: string) {
  const job = await findJob(database.api, organizationId, jobId);
  const balance = await balanceOf(database.superuser, organizationId, 'goal_generation');
  return { state: job?.state, code: job?.endCode, available: balance.available, held: balance.held };
}

const HOLD: JobWish = { input: { industry: 'logistics [[stand-in: hold]]', horizonMonths: 12 } };
const REFUSE: JobWish = { input: { industry: 'logistics [[stand-in: refuse]]', horizonMonths: 12 } };

describe('C15: an operator terminates runJob at a step, and the job is settled by what is stored', () => {
  const steps: { step: string; job: JobWish; ends: string; code: string | null; available: number }[] = [
    { step: 'beginJob', job: {}, ends: 'withdrawn', code: 'never_started', available: 20 },
    { step: 'runOperation', job: HOLD, ends: 'refunded', code: 'abandoned', available: 20 },
    { step: 'commitJob', job: {}, ends: 'charged', code: null, available: 17 },
    { step: 'refundJob', job: REFUSE, ends: 'refunded', code: 'abandoned', available: 20 },
  ];
  test.each(steps)(
    'terminated before $step: $ends, and nothing stays held',
    async ({ step, job, ends, code, available }) => {
      const organization = await createOrganization(database.superuser);
      const gate = gateAt(step);
      worker.intercept(gate.intercept);
      const { jobId, handle } = await worker.run(organization, job);
      await gate.arrived;
      await handle.terminate('by the test');
      // The worker that stood at the door never goes through it: it died with the workflow, so to speak.
      worker.intercept(null);
      await elapse(database.superuser, organization.organizationId, '2 minutes');

      await sweep();
      expect(await stateOf(organization, jobId)).toEqual({ state: ends, code, available, held: 0 });
      gate.open();
    },
  );

  test('a step of the dead workflow that wakes up afterwards changes nothing', async () => {
    const organization = await createOrganization(database.superuser);
    const gate = gateAt('beginJob');
    worker.intercept(gate.intercept);
    const { jobId, handle } = await worker.run(organization);
    await gate.arrived;
    await handle.terminate('by the test');
    worker.intercept(null);
    await elapse(database.superuser, organization.organizationId, '2 minutes');
    await sweep();

    gate.open();
    expect(await beginJob(database.worker, organization.organizationId, jobId)).toMatchObject({
      outcome: 'refused',
      code: 'never_started',
    });
    expect(await stateOf(organization, jobId)).toMatchObject({ state: 'withdrawn', available: 20, held: 0 });
  });
});

describe('C15: Temporal has lost its workflows', () => {
  test('delivered work is charged, begun work refunded, admitted work withdrawn', async () => {
    const organization = await createOrganization(database.superuser);
    const { organizationId } = organization;
    const admitted = await worker.admit(organization);
    const running = await worker.admit(organization);
    const delivered = await worker.admit(organization);
    await beginJob(database.worker, organizationId, running);
    await beginJob(database.worker, organizationId, delivered);
    await storeResult(database.worker, organizationId, delivered, { title: 'kept' }, {});
    await elapse(database.superuser, organizationId, '2 minutes');

    await sweep();
    expect(await stateOf(organization, admitted)).toMatchObject({ state: 'withdrawn', code: 'never_started' });
    expect(await stateOf(organization, running)).toMatchObject({ state: 'refunded', code: 'abandoned' });
    expect(await stateOf(organization, delivered)).toEqual({ state: 'charged', code: null, available: 17, held: 0 });
  });

  test('C17: work delivered long ago, its hold lapsed, is charged from the balance, and what it lacks is owed', async () => {
    const organization = await createOrganization(database.superuser);
    const { organizationId } = organization;
    const jobId = await worker.admit(organization);
    await beginJob(database.worker, organizationId, jobId);
    await storeResult(database.worker, organizationId, jobId, { title: 'kept' }, {});
    await elapse(database.superuser, organizationId, '2 days');
    await database.superuser.query(
      "update public.ai_tokens set balance = 1 where organization_id = $1 and token_type = 'goal_generation'",
      [organizationId],
    );

    await sweep();
    expect(await commitJob(database.worker, organizationId, jobId)).toMatchObject({
      outcome: 'charged',
      isRepeat: true,
      debt: 2,
    });
    expect(await balanceOf(database.superuser, organizationId, 'goal_generation')).toEqual({
      available: 0,
      held: 0,
      owed: 2,
    });
  });
});

test('C18: a job that cannot be settled keeps no other waiting; the sweep says so, and the next one settles it', async () => {
  const broken = await createOrganization(database.superuser);
  const sound = await createOrganization(database.superuser);
  const [stuck, fine] = [await worker.admit(broken), await worker.admit(sound)];
  for (const [{ organizationId }, jobId] of [
    [broken, stuck],
    [sound, fine],
  ] as const) {
    await beginJob(database.worker, organizationId, jobId);
    await storeResult(database.worker, organizationId, jobId, { title: 'kept' }, {});
    await elapse(database.superuser, organizationId, '2 minutes');
  }
  await database.superuser.query(
    `alter table tollgate.jobs add constraint planted check (id <> '${stuck}' or state <> 'charged') not valid`,
  );
  try {
    await expect(sweep()).rejects.toMatchObject({
      cause: {
        message: expect.stringMatching(/^1 of \d+ jobs could not be settled: settling an orphaned job: .*23514/),
      },
    });
    expect(await stateOf(sound, fine)).toMatchObject({ state: 'charged', available: 17, held: 0 });
    expect(await stateOf(broken, stuck)).toMatchObject({ state: 'delivered', held: 3 });
  } finally {
    await database.superuser.query('alter table tollgate.jobs drop constraint planted');
  }
  await sweep();
  expect(await stateOf(broken, stuck)).toMatchObject({ state: 'charged', available: 17, held: 0 });
});

test('a job whose workflow is alive is left to it, however late it is', async () => {
  const organization = await createOrganization(database.superuser);
  const { jobId, handle } = await worker.run(organization, HOLD);
  await waitForState(organization, jobId, 'running');
  await elapse(database.superuser, organization.organizationId, '2 minutes');

  const { seen, settled } = await sweep();
  expect(seen).toBeGreaterThan(0);
  expect(settled).toBe(0);
  expect(await stateOf(organization, jobId)).toMatchObject({ state: 'running', held: 3 });
  worker.standIn.release();
  await handle.result();
});

test('a sweep with nothing due looks at nothing', async () => {
  const organization = await createOrganization(database.superuser);
  const { handle } = await worker.run(organization);
  await handle.result();
  expect(await sweep()).toEqual({ seen: 0, settled: 0 });
});

async function waitForState(organization: TestOrganization, jobId: string, state: string): Promise<void> {
  await until(async () => (await stateOf(organization, jobId)).state === state);
}
