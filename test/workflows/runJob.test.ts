import { ApplicationFailure } from '@temporalio/common';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { refundJob, withdrawJob } from '../../db/jobs.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { gateAt } from '../support/gate.ts';
import { expectInvariants } from '../support/invariants.ts';
import { type Intercept, type JobWorker, startJobWorker } from '../support/jobWorker.ts';
import { balanceOf, createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let worker: JobWorker;

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

/** What one job came to, in the database: its state, its charges, and the balance it left of 20 goal tokens. */
async function outcomeOf(organizationId: string, jobId: string) {
  const { rows } = await database.superuser.query(
    `select j.state, j.end_code as code, j.result is not null as delivered,
            (select coalesce(sum(u.tokens_deducted), 0)::int from public.ai_token_usage_log u
              where u.metadata ->> 'jobId' = j.id) as charged
       from tollgate.jobs j where j.organization_id = $1 and j.id = $2`,
    [organizationId, jobId],
  );
  return { ...rows[0], ...(await balanceOf(database.superuser, organizationId, 'goal_generation')) };
}

const CHARGED = { state: 'charged', code: null, delivered: true, charged: 3, available: 17, held: 0, owed: 0 };
const refunded = (code: string) => ({
  state: 'refunded',
  code,
  delivered: false,
  charged: 0,
  available: 20,
  held: 0,
  owed: 0,
});

const FAIL_FOR_GOOD = { industry: 'logistics [[stand-in: refuse]]', horizonMonths: 12 };
const FAIL_TWICE = { industry: 'logistics [[stand-in: fail 500 x2]]', horizonMonths: 12 };
const HOLD = { industry: 'logistics [[stand-in: hold]]', horizonMonths: 12 };

describe('runJob', () => {
  test('charges exactly the quote once the result is stored', async () => {
    const organization = await createOrganization(database.superuser);
    const { jobId, handle } = await worker.run(organization);
    expect(await handle.result()).toEqual({ state: 'charged', tokens: 3, debt: 0 });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(CHARGED);
  });

  test('gives the tokens back when the operation fails for good, and asks the provider once', async () => {
    const organization = await createOrganization(database.superuser);
    const { jobId, handle } = await worker.run(organization, { input: FAIL_FOR_GOOD });
    expect(await handle.result()).toEqual({ state: 'refunded', code: 'operation_failed' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('operation_failed'));
    expect(callsFor(jobId)).toHaveLength(1);
  });

  test('charges once when the operation fails twice and then works, and books what each attempt cost', async () => {
    const organization = await createOrganization(database.superuser);
    const { jobId, handle } = await worker.run(organization, { input: FAIL_TWICE });
    await handle.result();
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(CHARGED);
    const { rows } = await database.superuser.query(
      'select a.attempt, a.outcome, a.http_status, a.usage is not null as has_usage from tollgate.job_attempts a where a.job_id = $1 order by a.attempt',
      [jobId],
    );
    expect(rows).toEqual([
      { attempt: 1, outcome: 'provider_unavailable', http_status: 500, has_usage: false },
      { attempt: 2, outcome: 'provider_unavailable', http_status: 500, has_usage: false },
      { attempt: 3, outcome: 'delivered', http_status: null, has_usage: true },
    ]);
  });

  test('gives the tokens back when the operation outlives its time budget', async () => {
    const organization = await createOrganization(database.superuser);
    const { jobId, handle } = await worker.run(organization, { input: HOLD, timeBudgetMs: 1_500 });
    expect(await handle.result()).toEqual({ state: 'refunded', code: 'operation_timed_out' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('operation_timed_out'));
  });

  test('ends as refused, holding nothing, when the hold lapsed and the balance went to others before it began', async () => {
    const organization = await createOrganization(database.superuser);
    const jobId = await worker.admit(organization, { holdLifetimeMs: 1 });
    await database.superuser.query(
      "update public.ai_tokens set balance = 0 where organization_id = $1 and token_type = 'goal_generation'",
      [organization.organizationId],
    );
    const handle = await worker.start(organization, jobId);
    expect(await handle.result()).toEqual({ state: 'refused', code: 'tokens_insufficient' });
    expect(await outcomeOf(organization.organizationId, jobId)).toMatchObject({
      state: 'refused',
      charged: 0,
      held: 0,
    });
  });

  test('carries ids only: neither prompt nor result stands in its history (S7)', async () => {
    const organization = await createOrganization(database.superuser);
    const canary = 'canary-7f3a@example.com';
    const { handle } = await worker.run(organization, { input: { industry: canary, horizonMonths: 12 } });
    await handle.result();
    const history = await handle.fetchHistory();
    const text = JSON.stringify(history, (_, value) =>
      value instanceof Uint8Array ? Buffer.from(value).toString('utf8') : value,
    );
    expect(text).toContain(organization.organizationId);
    expect(text).not.toContain('canary-7f3a');
    expect(text).not.toContain('Stand-in');
  });
});

describe('every step may fail once, and every step may run twice', () => {
  const failsBefore = (step: string): Intercept => {
    let failed = false;
    return async ({ name, run }) => {
      if (name !== step || failed) return run();
      failed = true;
      throw new Error('planted: before the effect');
    };
  };
  const failsAfter = (step: string): Intercept => {
    let failed = false;
    return async ({ name, run }) => {
      const answer = await run();
      if (name !== step || failed) return answer;
      failed = true;
      throw new Error('planted: after the effect');
    };
  };
  const runsTwice =
    (step: string): Intercept =>
    async ({ name, run }) => {
      const first = await run();
      if (name !== step) return first;
      const second = await run();
      expect(outcomeWord(second)).toBe(outcomeWord(first));
      return second;
    };
  const outcomeWord = (answer: unknown) => (answer as { outcome: string }).outcome;

  const faults = {
    'fails before its effect': failsBefore,
    'fails after its effect (R8)': failsAfter,
    'runs twice': runsTwice,
  };
  for (const [fault, plant] of Object.entries(faults)) {
    for (const step of ['beginJob', 'runOperation', 'commitJob']) {
      test(`a job is charged once when ${step} ${fault}`, async () => {
        const organization = await createOrganization(database.superuser);
        worker.intercept(plant(step));
        const { jobId, handle } = await worker.run(organization);
        expect(await handle.result()).toMatchObject({ state: 'charged' });
        expect(await outcomeOf(organization.organizationId, jobId)).toEqual(CHARGED);
      });
    }
    test(`a job is refunded once when refundJob ${fault}`, async () => {
      const organization = await createOrganization(database.superuser);
      worker.intercept(plant('refundJob'));
      const { jobId, handle } = await worker.run(organization, { input: FAIL_FOR_GOOD });
      expect(await handle.result()).toMatchObject({ state: 'refunded' });
      expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('operation_failed'));
    });
  }

  test('a result that was stored by an attempt whose every answer was lost is charged, not refunded', async () => {
    const organization = await createOrganization(database.superuser);
    worker.intercept(async ({ name, run }) => {
      const answer = await run();
      if (name === 'runOperation') throw new Error('planted: the answer is lost');
      return answer;
    });
    const { jobId, handle } = await worker.run(organization, { timeBudgetMs: 2_500 });
    expect(await handle.result()).toEqual({ state: 'charged', tokens: 3, debt: 0 });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(CHARGED);
  });
});

describe('R9: a cancellation ends the work, never the settlement', () => {
  /** Lets the named step wait at its door until the cancellation has been accepted. */
  const cancelDuring = async (step: string, input?: unknown) => {
    const organization = await createOrganization(database.superuser);
    const gate = gateAt(step);
    worker.intercept(gate.intercept);
    const { jobId, handle } = await worker.run(organization, input === undefined ? {} : { input });
    await gate.arrived;
    await handle.cancel();
    gate.open();
    return { jobId, organization, end: await handle.result() };
  };

  test('during reserve: the tokens are reserved, then the work is cancelled and they come back', async () => {
    const { organization, jobId, end } = await cancelDuring('beginJob', HOLD);
    expect(end).toEqual({ state: 'refunded', code: 'cancelled' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('cancelled'));
  });

  test('during the operation: the tokens come back after the call has ended', async () => {
    const organization = await createOrganization(database.superuser);
    const { jobId, handle } = await worker.run(organization, { input: HOLD });
    await until(() => callsFor(jobId).length === 1);
    await handle.cancel();
    expect(await handle.result()).toEqual({ state: 'refunded', code: 'cancelled' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('cancelled'));
    const call = await until(() => callsFor(jobId).find((one) => one.endedAt));
    const { rows } = await database.superuser.query('select j.ended_at from tollgate.jobs j where j.id = $1', [jobId]);
    expect(new Date(call.endedAt as string | number).getTime()).toBeLessThanOrEqual(rows[0].ended_at.getTime() + 50);
  });

  test('during an operation that then fails by itself, as when its worker dies: the job was cancelled', async () => {
    const organization = await createOrganization(database.superuser);
    const gate = gateAt('runOperation');
    worker.intercept(async (activity) => {
      if (activity.name !== 'runOperation') return activity.run();
      await gate.intercept({ ...activity, run: async () => undefined });
      throw ApplicationFailure.nonRetryable('planted: the worker died', 'Planted');
    });
    const { jobId, handle } = await worker.run(organization);
    await gate.arrived;
    await handle.cancel();
    gate.open();
    expect(await handle.result()).toEqual({ state: 'refunded', code: 'cancelled' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('cancelled'));
  });

  test('before the worker saw it: the workflow ends as the job did, withdrawn', async () => {
    const organization = await createOrganization(database.superuser);
    const jobId = await worker.admit(organization);
    await withdrawJob(database.api, organization.organizationId, jobId, 'cancelled');
    const handle = await worker.start(organization, jobId);
    expect(await handle.result()).toEqual({ state: 'withdrawn', code: 'cancelled' });
    const { typedSearchAttributes } = await handle.describe();
    expect(typedSearchAttributes.getAll().find(({ key }) => key.name === 'JobState')?.value).toBe('withdrawn');
  });

  test('during commit: delivered work is charged, once', async () => {
    const { organization, jobId, end } = await cancelDuring('commitJob');
    expect(end).toEqual({ state: 'charged', tokens: 3, debt: 0 });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(CHARGED);
  });

  test('during refund: the refund happens', async () => {
    const { organization, jobId, end } = await cancelDuring('refundJob', FAIL_FOR_GOOD);
    expect(end).toEqual({ state: 'refunded', code: 'operation_failed' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('operation_failed'));
  });

  test('a result that comes after the refund is dropped', async () => {
    const organization = await createOrganization(database.superuser);
    const { jobId, handle } = await worker.run(organization, { input: HOLD });
    await until(() => callsFor(jobId).length === 1);
    const refund = await refundJob(database.worker, organization.organizationId, jobId, 'abandoned');
    expect(refund.outcome).toBe('refunded');
    await worker.standIn.release();
    expect(await handle.result()).toEqual({ state: 'refunded', code: 'abandoned' });
    expect(await outcomeOf(organization.organizationId, jobId)).toEqual(refunded('abandoned'));
  });
});

describe('C18: a settlement that the database refuses', () => {
  test('is a pending activity with its reason, slows no other workflow, and resumes by itself', async () => {
    const organization = await createOrganization(database.superuser);
    await database.superuser.query('revoke execute on function tollgate.commit_job(text, text) from tollgate_worker');
    try {
      const { jobId, handle } = await worker.run(organization);
      const pending = await until(async () => {
        const { raw } = await handle.describe();
        return raw.pendingActivities?.find(
          (activity) => activity.activityType?.name === 'commitJob' && activity.lastFailure,
        );
      }, 20_000);
      expect(pending.lastFailure?.message).toBe('commit_job: the database refused the call (SQLSTATE 42501)');

      // Meanwhile another organization's work, which needs no commit, runs to its end.
      const neighbour = await createOrganization(database.superuser);
      const other = await worker.run(neighbour, { input: FAIL_FOR_GOOD });
      expect(await other.handle.result()).toMatchObject({ state: 'refunded' });
      expect(await outcomeOf(organization.organizationId, jobId)).toMatchObject({ state: 'delivered', held: 3 });

      await database.superuser.query('grant execute on function tollgate.commit_job(text, text) to tollgate_worker');
      expect(await handle.result()).toEqual({ state: 'charged', tokens: 3, debt: 0 });
      expect(await outcomeOf(organization.organizationId, jobId)).toEqual(CHARGED);
    } finally {
      await database.superuser.query('grant execute on function tollgate.commit_job(text, text) to tollgate_worker');
    }
  }, 60_000);
});

/** The provider's own account of the calls for a job. */
function callsFor(jobId: string) {
  return worker.standIn.calls().filter((call) => call.idempotencyKey?.endsWith(`:${jobId}`));
}
