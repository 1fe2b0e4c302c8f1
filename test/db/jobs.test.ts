import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  admitJob,
  beginJob,
  commitJob,
  findEndedJobs,
  findJob,
  findOrphanedJobs,
  jobToRun,
  listJobs,
  type OrphanedJob,
  recordAttempt,
  refundJob,
  requestCancellation,
  storeResult,
  withdrawJob,
} from '../../db/jobs.ts';
import { hasEnded, JOB_ARROWS, JOB_STATES, type JobState } from '../../domain/jobStates.ts';
import { ADMISSION_REFUSALS, type AdmissionRefusal } from '../../domain/refusals.ts';
import { type AdmissionRequest, admissionOf } from '../support/admission.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { newOperator } from '../support/operator.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

const newOrganization = () => createOrganization(database.superuser, 'pro');
const leads = ({ organizationId }: TestOrganization) =>
  balanceOf(database.superuser, organizationId, 'lead_generation');
const stateOf = async ({ organizationId }: TestOrganization, jobId: string) =>
  (await findJob(database.api, organizationId, jobId))?.state;

/** The functions that move a job, each as its caller calls it. */
const moves = {
  begin_job: ({ organizationId }: TestOrganization, jobId: string) => beginJob(database.worker, organizationId, jobId),
  withdraw_job: ({ organizationId }: TestOrganization, jobId: string) =>
    withdrawJob(database.api, organizationId, jobId, 'start_failed'),
  store_result: ({ organizationId }: TestOrganization, jobId: string) =>
    storeResult(database.worker, organizationId, jobId, { text: 'done' }, { inputTokens: 7 }),
  commit_job: ({ organizationId }: TestOrganization, jobId: string) =>
    commitJob(database.worker, organizationId, jobId),
  refund_job: ({ organizationId }: TestOrganization, jobId: string) =>
    refundJob(database.worker, organizationId, jobId, 'operation_failed'),
};
type Move = keyof typeof moves;

/** How a job gets into each state by the functions alone. */
const ways: Record<JobState, (organization: TestOrganization, jobId: string) => Promise<unknown>> = {
  admitted: (organization, jobId) => admitJob(database.api, admissionOf(organization, jobId)),
  running: (organization, jobId) => follow(organization, jobId, 'admitted', 'begin_job'),
  delivered: (organization, jobId) => follow(organization, jobId, 'running', 'store_result'),
  charged: (organization, jobId) => follow(organization, jobId, 'delivered', 'commit_job'),
  refunded: (organization, jobId) => follow(organization, jobId, 'running', 'refund_job'),
  withdrawn: (organization, jobId) => follow(organization, jobId, 'admitted', 'withdraw_job'),
  refused: async (organization, jobId) => {
    await ways.admitted(organization, jobId);
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    const { rows } = await database.superuser.query(
      `select balance from ai_tokens where organization_id = $1 and token_type = 'lead_generation'`,
      [organization.organizationId],
    );
    await holderOf(database.api, organization).hold(`all-before-${jobId}`, rows[0].balance, { lifetimeMs: 3_600_000 });
    await moves.begin_job(organization, jobId);
  },
};
async function follow(organization: TestOrganization, jobId: string, from: JobState, move: Move): Promise<void> {
  await ways[from](organization, jobId);
  await moves[move](organization, jobId);
}

describe('each function answers in every state, and moves along its arrow only', () => {
  const answers: Record<Move, Record<JobState, object>> = {
    begin_job: {
      admitted: { outcome: 'held', feature: 'generate_leads', tokens: 5, timeBudgetMs: 75_000 },
      running: { outcome: 'held', feature: 'generate_leads', tokens: 5, timeBudgetMs: 75_000 },
      delivered: { outcome: 'held' },
      charged: { outcome: 'held' },
      refunded: { outcome: 'refused', code: 'operation_failed' },
      withdrawn: { outcome: 'refused', code: 'start_failed' },
      refused: { outcome: 'refused', code: 'tokens_insufficient' },
    },
    withdraw_job: {
      admitted: { outcome: 'withdrawn', isRepeat: false, state: 'withdrawn' },
      running: { outcome: 'job_running', isRepeat: false, state: 'running' },
      delivered: { outcome: 'job_running', state: 'delivered' },
      charged: { outcome: 'job_ended', state: 'charged' },
      refunded: { outcome: 'job_ended', state: 'refunded' },
      withdrawn: { outcome: 'withdrawn', isRepeat: true, state: 'withdrawn' },
      refused: { outcome: 'job_ended', state: 'refused' },
    },
    store_result: {
      admitted: { outcome: 'refused', state: 'admitted' },
      running: { outcome: 'stored', state: 'delivered' },
      delivered: { outcome: 'delivered', state: 'delivered' },
      charged: { outcome: 'delivered', state: 'charged' },
      refunded: { outcome: 'refused', state: 'refunded' },
      withdrawn: { outcome: 'refused', state: 'withdrawn' },
      refused: { outcome: 'refused', state: 'refused' },
    },
    commit_job: {
      admitted: { outcome: 'not_delivered' },
      running: { outcome: 'not_delivered' },
      delivered: { outcome: 'charged', isRepeat: false, tokens: 5, debt: 0 },
      charged: { outcome: 'charged', isRepeat: true, tokens: 5, debt: 0 },
      refunded: { outcome: 'job_refunded' },
      withdrawn: { outcome: 'job_ended' },
      refused: { outcome: 'job_ended' },
    },
    refund_job: {
      admitted: { outcome: 'not_running' },
      running: { outcome: 'refunded', isRepeat: false, tokens: 5 },
      delivered: { outcome: 'job_delivered' },
      charged: { outcome: 'job_delivered' },
      refunded: { outcome: 'refunded', isRepeat: true, tokens: 5 },
      withdrawn: { outcome: 'job_ended' },
      refused: { outcome: 'job_ended' },
    },
  };
  const cases = Object.entries(answers).flatMap(([move, byState]) =>
    JOB_STATES.map((from) => ({ move: move as Move, from, answer: byState[from] })),
  );
  const seen: [JobState, Move, JobState][] = [];

  it.each(cases)('R8, R11: $move of a job that is $from, twice', async ({ move, from, answer }) => {
    const organization = await newOrganization();
    await ways[from](organization, 'job-1');
    expect(await stateOf(organization, 'job-1')).toBe(from);
    const before = await everythingOf(organization);

    const first = await moves[move](organization, 'job-1');
    expect(first).toMatchObject(answer);
    const to = (await stateOf(organization, 'job-1'))!;
    const after = await everythingOf(organization);
    if (to === from) expect(after).toEqual(before);
    else seen.push([from, move, to]);

    const second = await moves[move](organization, 'job-1');
    expect(await everythingOf(organization)).toEqual(after);
    // The recorded outcome: what the same call answers in the state that it led to.
    expect(second).toMatchObject(answers[move][to]);
  });

  it('the arrows that were taken are those of JOB_ARROWS', async () => {
    const organization = await newOrganization();
    await ways.refused(organization, 'job-1');
    seen.push(['admitted', 'begin_job', (await stateOf(organization, 'job-1'))!]);
    const sorted = (arrows: readonly (readonly string[])[]) => arrows.map((arrow) => arrow.join(' → ')).toSorted();
    expect(sorted(seen)).toEqual(sorted(JOB_ARROWS));
  });

  it.each(Object.keys(moves) as Move[])('%s of an unknown job', async (move) => {
    const organization = await newOrganization();
    expect(await moves[move](organization, 'nobody')).toMatchObject({ outcome: 'job_unknown' });
    expect(await moves[move]({ ...organization, organizationId: 'nowhere' }, 'job-1')).toMatchObject({
      outcome: 'job_unknown',
    });
  });

  it.each(JOB_STATES)('from %s no SQL leads where there is no arrow, not even a superuser’s', async (from) => {
    const organization = await newOrganization();
    await ways[from](organization, 'job-1');
    const allowed = JOB_ARROWS.filter((arrow) => arrow[0] === from).map((arrow) => arrow[2] as JobState);
    for (const to of JOB_STATES) {
      if (to === from || allowed.includes(to)) continue;
      await expect(
        database.superuser.query(
          `update tollgate.jobs
              set state = $2, result = case when $2 in ('delivered', 'charged') then '{}'::jsonb end,
                  ended_at = case when $3 then clock_timestamp() end,
                  end_code = case when $2 in ('refunded', 'withdrawn', 'refused') then 'cancelled' end
            where organization_id = $1`,
          [organization.organizationId, to, hasEnded(to)],
        ),
        `${from} → ${to}`,
      ).rejects.toThrow(`cannot go from ${from} to ${to}`);
    }
  });

  it('every end is told to the outbox once, in its own transaction', async () => {
    const organization = await newOrganization();
    for (const state of JOB_STATES.filter(hasEnded)) await ways[state](organization, `job-${state}`);
    const { rows } = await database.superuser.query(
      `select o.subject_id, o.content ->> 'state' as state from tollgate.outbox o
        where o.organization_id = $1 and o.kind = 'job_ended' order by o.id`,
      [organization.organizationId],
    );
    expect(rows).toEqual(JOB_STATES.filter(hasEnded).map((state) => ({ subject_id: `job-${state}`, state })));
  });
});

describe('admission', () => {
  it('answers the quote and when the hold lapses, and sets the tokens aside', async () => {
    const organization = await newOrganization();
    const admission = await admitJob(database.api, admissionOf(organization, 'job-1'));
    expect(admission).toMatchObject({
      outcome: 'admitted',
      isRepeat: false,
      jobId: 'job-1',
      state: 'admitted',
      answer: { id: 'job-1', feature: 'generate_leads', state: 'admitted', tokenType: 'lead_generation', tokens: 5 },
    });
    const job = await findJob(database.api, organization.organizationId, 'job-1');
    expect(admission.outcome === 'admitted' && new Date(admission.answer.createdAt)).toEqual(job!.createdAt);
    expect(await leads(organization)).toEqual({ available: 45, held: 5, owed: 0 });
  });

  const refusals: {
    refusal: AdmissionRefusal;
    change?: Partial<AdmissionRequest>;
    arrange?: (organization: TestOrganization) => Promise<unknown>;
  }[] = [
    { refusal: 'not_a_member', change: { principal: 'user:nobody' } },
    { refusal: 'not_a_member', change: { organizationId: 'nowhere' } },
    {
      refusal: 'key_reused',
      arrange: (organization) =>
        admitJob(database.api, admissionOf(organization, 'other', { idempotencyKey: 'key-job-1' })),
      change: { input: { prompt: 'Another' } },
    },
    {
      refusal: 'organization_suspended',
      arrange: async ({ organizationId }) => (await newOperator(database)).suspend(organizationId),
    },
    { refusal: 'feature_unknown', change: { feature: 'paint_a_picture' } },
    { refusal: 'id_invalid', change: { jobId: 'again:job-1' } },
    {
      refusal: 'id_reused',
      arrange: (organization) =>
        admitJob(database.api, admissionOf(organization, 'job-1', { idempotencyKey: 'another' })),
    },
    {
      refusal: 'id_reused',
      arrange: async (organization) => {
        const holder = holderOf(database.api, organization);
        await holder.hold('job-1', 5);
        await holder.release('job-1');
      },
    },
    {
      refusal: 'id_reused',
      arrange: (organization) => ways.withdrawn(organization, 'job-1'),
    },
    {
      refusal: 'feature_not_available',
      arrange: ({ organizationId }) =>
        database.superuser.query(`update organizations set plan = 'starter' where id = $1`, [organizationId]),
    },
    {
      refusal: 'too_many_jobs',
      arrange: async (organization) => {
        await (await newOperator(database)).cap(organization.organizationId, { jobs: 1, holds: 1 });
        await admitJob(database.api, admissionOf(organization, 'other'));
      },
    },
    {
      refusal: 'too_many_holds',
      arrange: async (organization) => {
        await (await newOperator(database)).cap(organization.organizationId, { holds: 1 });
        await holderOf(database.api, organization).hold('other', 1);
      },
    },
    {
      refusal: 'limit_reached',
      arrange: ({ organizationId }) =>
        database.superuser.query(`select tollgate.set_sub_limit($1, 'lead_generation', 'feature', '*', 'day', 4)`, [
          organizationId,
        ]),
    },
    {
      refusal: 'tokens_insufficient',
      arrange: (organization) => holderOf(database.api, organization).hold('most', 46),
    },
  ];
  it.each(refusals)('$refusal: nothing moves and the key stays free', async ({ refusal, change, arrange }) => {
    const organization = await newOrganization();
    await arrange?.(organization);
    const before = await everythingOf(organization);
    expect(await admitJob(database.api, admissionOf(organization, 'job-1', change))).toMatchObject({
      outcome: refusal,
    });
    expect(await everythingOf(organization)).toEqual(before);
  });

  it('every refusal of the closed list is tested here', () => {
    expect([...new Set(refusals.map(({ refusal }) => refusal))].toSorted()).toEqual([...ADMISSION_REFUSALS].toSorted());
  });

  it('R4: the same key with the same body replays the first answer, whatever became of the job', async () => {
    const organization = await newOrganization();
    const first = await admitJob(database.api, admissionOf(organization, 'job-1'));
    const steps: [Move | null, JobState][] = [
      [null, 'admitted'],
      ['begin_job', 'running'],
      ['store_result', 'delivered'],
      ['commit_job', 'charged'],
    ];
    for (const [move, state] of steps) {
      if (move) await moves[move](organization, 'job-1');
      const replay = await admitJob(database.api, admissionOf(organization, 'job-2', { idempotencyKey: 'key-job-1' }));
      expect(replay).toEqual({ ...first, isRepeat: true, state });
    }
    expect(await leads(organization)).toEqual({ available: 45, held: 0, owed: 0 });
  });

  it('R5: the same key with another body has no effect; from another organization it is another key', async () => {
    const [one, other] = [await newOrganization(), await newOrganization()];
    await admitJob(database.api, admissionOf(one, 'job-1', { idempotencyKey: 'k' }));
    const reused = admissionOf(one, 'job-2', { idempotencyKey: 'k', input: { prompt: 'Another' } });
    expect(await admitJob(database.api, reused)).toMatchObject({ outcome: 'key_reused' });
    expect(await leads(one)).toMatchObject({ held: 5 });
    expect(await admitJob(database.api, admissionOf(other, 'job-1', { idempotencyKey: 'k' }))).toMatchObject({
      outcome: 'admitted',
      isRepeat: false,
    });
  });

  it('a refused key may succeed after a top-up', async () => {
    const organization = await newOrganization();
    await holderOf(database.api, organization).hold('all', 50);
    const request = admissionOf(organization, 'job-1');
    expect(await admitJob(database.api, request)).toMatchObject({
      outcome: 'tokens_insufficient',
      tokens: 5,
      available: 0,
    });
    await addGrant(database.superuser, organization.organizationId, { amount: 5 });
    expect(await admitJob(database.api, request)).toMatchObject({ outcome: 'admitted', isRepeat: false });
  });

  it('C16: a withdrawal frees the key, so a retry is a new job; a cancellation keeps it, so a late repeat runs nothing', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    await ways.withdrawn(organization, 'job-1');
    const retry = admissionOf(organization, 'job-2', { idempotencyKey: 'key-job-1' });
    expect(await admitJob(database.api, retry)).toMatchObject({ outcome: 'admitted', isRepeat: false, jobId: 'job-2' });

    await withdrawJob(database.api, organizationId, 'job-2', 'cancelled');
    expect(await admitJob(database.api, retry)).toMatchObject({
      outcome: 'admitted',
      isRepeat: true,
      jobId: 'job-2',
      state: 'withdrawn',
    });
    expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
  });

  it('C16: a withdrawal frees only its own key: not the one of the job that took it since', async () => {
    const organization = await newOrganization();
    await ways.withdrawn(organization, 'job-1');
    await admitJob(database.api, admissionOf(organization, 'job-2', { idempotencyKey: 'key-job-1' }));
    await moves.withdraw_job(organization, 'job-1');
    expect(
      await admitJob(database.api, admissionOf(organization, 'job-3', { idempotencyKey: 'key-job-1' })),
    ).toMatchObject({ isRepeat: true, jobId: 'job-2' });
  });
});

describe('when the hold has lapsed', () => {
  it('C2: a job that begins late takes its tokens anew, until its budget and a day are over', async () => {
    const organization = await newOrganization();
    await ways.admitted(organization, 'job-1');
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    expect(await moves.begin_job(organization, 'job-1')).toMatchObject({ outcome: 'held' });
    expect(await leads(organization)).toEqual({ available: 45, held: 5, owed: 0 });
    const { rows } = await database.superuser.query(
      `select h.id, h.state, extract(epoch from h.expires_at - h.created_at)::integer as seconds
         from tollgate.holds h where h.organization_id = $1 order by h.created_at`,
      [organization.organizationId],
    );
    expect(rows).toEqual([
      { id: 'job-1', state: 'lapsed', seconds: 60 },
      { id: 'again:job-1', state: 'held', seconds: 75 + 24 * 3_600 },
    ]);
    await moves.store_result(organization, 'job-1');
    await moves.commit_job(organization, 'job-1');
    expect(await leads(organization)).toEqual({ available: 45, held: 0, owed: 0 });
  });

  it('a job that begins late without the tokens is refused, and the plan gate is not asked again', async () => {
    const organization = await newOrganization();
    await ways.refused(organization, 'job-1');
    expect(await findJob(database.api, organization.organizationId, 'job-1')).toMatchObject({
      state: 'refused',
      endCode: 'tokens_insufficient',
    });

    const downgraded = await newOrganization();
    await ways.admitted(downgraded, 'job-1');
    await elapse(database.superuser, downgraded.organizationId, '61 seconds');
    await database.superuser.query(`update organizations set plan = 'starter' where id = $1`, [
      downgraded.organizationId,
    ]);
    expect(await moves.begin_job(downgraded, 'job-1')).toMatchObject({ outcome: 'held' });
  });

  it('a withdrawn or refunded job whose hold has lapsed got its tokens back by time, once', async () => {
    const organization = await newOrganization();
    await ways.admitted(organization, 'job-1');
    await ways.running(organization, 'job-2');
    await elapse(database.superuser, organization.organizationId, '2 days');
    expect(await moves.withdraw_job(organization, 'job-1')).toMatchObject({ outcome: 'withdrawn', isRepeat: false });
    expect(await moves.refund_job(organization, 'job-2')).toMatchObject({ outcome: 'refunded', isRepeat: false });
    expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
  });

  const late = [
    { left: 50, debt: 0 },
    { left: 5, debt: 0 },
    { left: 2, debt: 3 },
    { left: 0, debt: 5 },
  ];
  it.each(late)(
    'C17: delivered work is charged from the $left tokens that are left, and $debt become a debt',
    async ({ left, debt }) => {
      const organization = await newOrganization();
      const { organizationId } = organization;
      await ways.delivered(organization, 'job-1');
      await elapse(database.superuser, organizationId, '2 days');
      if (left < 50) await holderOf(database.api, organization).hold('others', 50 - left, { lifetimeMs: 3_600_000 });

      const charge = await moves.commit_job(organization, 'job-1');
      expect(charge).toEqual({ outcome: 'charged', isRepeat: false, tokens: 5, debt });
      expect(await moves.commit_job(organization, 'job-1')).toEqual({ ...charge, isRepeat: true });
      expect(await leads(organization)).toEqual({ available: left - 5 + debt, held: 50 - left, owed: debt });
      const { rows } = await database.superuser.query(
        'select sum(tokens_deducted)::integer as used from ai_token_usage_log where organization_id = $1',
        [organizationId],
      );
      expect(rows).toEqual([{ used: 5 }]);

      // What comes next pays the debt first.
      await addGrant(database.superuser, organizationId, { amount: 4 });
      expect(await leads(organization)).toMatchObject({
        available: left - 5 + debt + 4 - Math.min(4, debt),
        owed: Math.max(0, debt - 4),
      });
      await addGrant(database.superuser, organizationId, { amount: 4 });
      expect(await leads(organization)).toMatchObject({ available: left - 5 + 8, owed: 0 });
    },
  );

  it('C17: of several debts the oldest is paid first, and one grant may pay more than one', async () => {
    const organization = await newOrganization();
    for (const job of ['job-1', 'job-2', 'job-3']) await ways.delivered(organization, job);
    await elapse(database.superuser, organization.organizationId, '2 days');
    await holderOf(database.api, organization).hold('all', 50, { lifetimeMs: 3_600_000 });
    for (const job of ['job-1', 'job-2', 'job-3']) await moves.commit_job(organization, job);
    await addGrant(database.superuser, organization.organizationId, { amount: 7 });
    const { rows } = await database.superuser.query(
      'select d.job_id, d.open_amount from tollgate.debts d where d.organization_id = $1 order by d.id',
      [organization.organizationId],
    );
    expect(rows).toEqual([
      { job_id: 'job-1', open_amount: 0 },
      { job_id: 'job-2', open_amount: 3 },
      { job_id: 'job-3', open_amount: 5 },
    ]);
    expect(await leads(organization)).toEqual({ available: 0, held: 50, owed: 8 });
  });

  it('nobody can stand in the way of a charge by taking the id of its late hold', async () => {
    const organization = await newOrganization();
    const holder = holderOf(database.api, organization);
    for (const id of ['again-job-1', 'late-job-1']) await holder.hold(id, 5);
    for (const id of ['again:job-1', 'late:job-1'])
      expect(await holder.hold(id, 5)).toMatchObject({ outcome: 'id_invalid' });
    await ways.admitted(organization, 'job-1');
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    await moves.begin_job(organization, 'job-1');
    await moves.store_result(organization, 'job-1');
    await elapse(database.superuser, organization.organizationId, '2 days');
    expect(await moves.commit_job(organization, 'job-1')).toMatchObject({ outcome: 'charged', debt: 0 });
  });

  it('two jobs whose long ids end alike do not meet in their later holds', async () => {
    const organization = await newOrganization();
    const [one, other] = [`a${'x'.repeat(63)}`, `b${'x'.repeat(63)}`];
    for (const job of [one, other]) await ways.admitted(organization, job);
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    for (const job of [one, other]) expect(await moves.begin_job(organization, job)).toMatchObject({ outcome: 'held' });
    expect(await leads(organization)).toEqual({ available: 40, held: 10, owed: 0 });
  });
});

describe('T6: what was quoted is what is charged, whatever the catalogue says by then', () => {
  const catalogues: { name: string; features: object[] }[] = [
    {
      name: 'the cost was doubled',
      features: [{ feature: 'generate_leads', tokenType: 'lead_generation', tokens: 10 }],
    },
    { name: 'the feature is gone', features: [] },
    {
      name: 'the feature costs another token type',
      features: [{ feature: 'generate_leads', tokenType: 'general', tokens: 1 }],
    },
  ];
  it.each(catalogues)('$name', async ({ name, features }) => {
    const own = await freshDatabase();
    try {
      const organization = await createOrganization(own.superuser, 'pro');
      const { organizationId } = organization;
      for (const job of ['in-time', 'late-to-begin', 'late-to-end'])
        await admitJob(own.api, admissionOf(organization, job));
      await beginJob(own.worker, organizationId, 'in-time');
      await beginJob(own.worker, organizationId, 'late-to-end');
      await own.superuser.query('select tollgate.apply_catalogue($1, $2)', [
        name,
        {
          features,
          allowances: ['lead_generation', 'general'].map((tokenType) => ({ plan: 'pro', tokenType, tokens: 50 })),
        },
      ]);
      for (const job of ['in-time', 'late-to-end']) await storeResult(own.worker, organizationId, job, {}, {});
      expect(await commitJob(own.worker, organizationId, 'in-time')).toMatchObject({ outcome: 'charged', tokens: 5 });

      await elapse(own.superuser, organizationId, '2 days');
      expect(await beginJob(own.worker, organizationId, 'late-to-begin')).toMatchObject({ outcome: 'held', tokens: 5 });
      await storeResult(own.worker, organizationId, 'late-to-begin', {}, {});
      for (const job of ['late-to-begin', 'late-to-end']) {
        expect(await commitJob(own.worker, organizationId, job)).toMatchObject({
          outcome: 'charged',
          tokens: 5,
          debt: 0,
        });
      }
      expect(await balanceOf(own.superuser, organizationId, 'lead_generation')).toEqual({
        available: 35,
        held: 0,
        owed: 0,
      });
      expect(await balanceOf(own.superuser, organizationId, 'general')).toEqual({ available: 50, held: 0, owed: 0 });
      await expectInvariants(own.superuser);
    } finally {
      await own.drop();
    }
  });
});

describe('what is read of jobs', () => {
  it('a result is shown once it is charged, and not before', async () => {
    const organization = await newOrganization();
    await ways.delivered(organization, 'job-1');
    const { organizationId } = organization;
    expect(await findJob(database.api, organizationId, 'job-1')).toMatchObject({
      state: 'delivered',
      result: null,
      usage: null,
    });
    await moves.commit_job(organization, 'job-1');
    expect(await findJob(database.api, organizationId, 'job-1')).toMatchObject({
      state: 'charged',
      result: { text: 'done' },
      usage: { inputTokens: 7 },
    });
    expect(await findJob(database.api, organizationId, 'job-2')).toBeNull();
  });

  it('the first stored result stays', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    await ways.delivered(organization, 'job-1');
    await storeResult(database.worker, organizationId, 'job-1', { text: 'second' }, {});
    await moves.commit_job(organization, 'job-1');
    expect((await findJob(database.api, organizationId, 'job-1'))!.result).toEqual({ text: 'done' });
  });

  it('pages list each job once, also those of one millisecond', async () => {
    const organization = await newOrganization();
    const ids = Array.from({ length: 10 }, (_, n) => `job-${n}`);
    await Promise.all(
      ids.map((jobId) => admitJob(database.api, admissionOf(organization, jobId, { feature: 'analyze_strategy' }))),
    );
    const listed: string[] = [];
    for (let before: { createdAt: Date; id: string } | null = null; ; ) {
      const page: { createdAt: Date; id: string }[] = await listJobs(database.api, organization.organizationId, {
        limit: 1,
        before,
      });
      if (page.length === 0) break;
      before = page[0]!;
      listed.push(before.id);
    }
    expect(listed.toSorted()).toEqual(ids.toSorted());
  });

  it('lists by state and feature', async () => {
    const organization = await newOrganization();
    await ways.charged(organization, 'charged');
    await ways.running(organization, 'running');
    await admitJob(database.api, admissionOf(organization, 'goal', { feature: 'generate_goal' }));
    const list = async (filter: { state?: JobState; feature?: 'generate_goal' }) =>
      (await listJobs(database.api, organization.organizationId, { limit: 10, before: null, ...filter })).map(
        ({ id }) => id,
      );
    expect(await list({})).toEqual(['goal', 'running', 'charged']);
    expect(await list({ state: 'running' })).toEqual(['running']);
    expect(await list({ feature: 'generate_goal' })).toEqual(['goal']);
  });

  it('who waits hears of ended jobs only, of several organizations at once', async () => {
    const [one, other] = [await newOrganization(), await newOrganization()];
    await ways.charged(one, 'done');
    await ways.running(one, 'busy');
    await ways.refunded(other, 'done');
    const asked = [
      { organizationId: one.organizationId, jobId: 'done' },
      { organizationId: one.organizationId, jobId: 'busy' },
      { organizationId: other.organizationId, jobId: 'done' },
      { organizationId: other.organizationId, jobId: 'unknown' },
    ];
    const ended = await findEndedJobs(database.api, asked);
    expect(ended).toHaveLength(2);
    expect(ended).toEqual(expect.arrayContaining([asked[0], asked[2]]));
  });

  it('the operation reads feature, input and whether there is anything to do', async () => {
    const organization = await newOrganization();
    await ways.running(organization, 'job-1');
    expect(await jobToRun(database.worker, organization.organizationId, 'job-1')).toEqual({
      state: 'running',
      feature: 'generate_leads',
      input: { prompt: 'Grow' },
    });
    expect(await jobToRun(database.worker, organization.organizationId, 'job-2')).toBeNull();
  });

  it('a cancellation is noted once, with its first instant, and moves nothing', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    await ways.running(organization, 'job-1');
    expect(await requestCancellation(database.api, organizationId, 'job-1')).toBe('running');
    const { cancelRequestedAt } = (await findJob(database.api, organizationId, 'job-1'))!;
    expect(cancelRequestedAt).not.toBeNull();
    await requestCancellation(database.api, organizationId, 'job-1');
    expect(await findJob(database.api, organizationId, 'job-1')).toMatchObject({ state: 'running', cancelRequestedAt });
    await moves.refund_job(organization, 'job-1');
    expect(await requestCancellation(database.api, organizationId, 'job-1')).toBeNull();
  });

  it('every attempt is booked; one that has ended is not reopened', async () => {
    const organization = await newOrganization();
    const { organizationId } = organization;
    await ways.running(organization, 'job-1');
    const record = (attempt: number, outcome: string, httpStatus: number | null = null) =>
      recordAttempt(database.worker, organizationId, 'job-1', { attempt, outcome, httpStatus, usage: { n: attempt } });
    for (const outcome of ['started', 'started', 'provider_failed', 'started', 'delivered'])
      await record(1, outcome, 500);
    await record(2, 'started');
    const { rows } = await database.superuser.query(
      'select attempt, outcome, http_status, ended_at is not null as ended from tollgate.job_attempts where organization_id = $1 order by attempt',
      [organizationId],
    );
    expect(rows).toEqual([
      { attempt: 1, outcome: 'provider_failed', http_status: 500, ended: true },
      { attempt: 2, outcome: 'started', http_status: null, ended: false },
    ]);
  });

  it('C15: orphans are the admitted whose hold has lapsed and the begun past their budget, page by page, oldest first', async () => {
    const own = await freshDatabase();
    try {
      const organization = await createOrganization(own.superuser, 'pro');
      const { organizationId } = organization;
      const admit = (jobId: string) => admitJob(own.api, admissionOf(organization, jobId));
      for (const jobId of ['withdrawn', 'admitted', 'running', 'delivered', 'charged']) await admit(jobId);
      await withdrawJob(own.api, organizationId, 'withdrawn', 'start_failed');
      for (const jobId of ['running', 'delivered', 'charged']) await beginJob(own.worker, organizationId, jobId);
      for (const jobId of ['delivered', 'charged']) await storeResult(own.worker, organizationId, jobId, {}, {});
      await commitJob(own.worker, organizationId, 'charged');
      expect(await findOrphanedJobs(own.worker, { after: null, limit: 10 })).toEqual([]);

      await elapse(own.superuser, organizationId, '5 minutes');
      await admit('young');
      const found: string[] = [];
      for (let after: OrphanedJob | null = null; ; ) {
        const page: OrphanedJob[] = await findOrphanedJobs(own.worker, { after, limit: 1 });
        if (page.length === 0) break;
        after = page[0]!;
        found.push(`${after.jobId} ${after.state}`);
      }
      expect(found).toEqual(['admitted admitted', 'running running', 'delivered delivered']);
    } finally {
      await own.drop();
    }
  });
});

/** All that a call could move for an organization. */
async function everythingOf({ organizationId }: TestOrganization): Promise<unknown> {
  const tables = [
    ['tollgate.balances', "to_jsonb(t) - 'settled_through' - 'next_change_at'"],
    ['tollgate.grants', 'to_jsonb(t)'],
    ['tollgate.holds', 'to_jsonb(t)'],
    ['tollgate.debts', 'to_jsonb(t)'],
    ['tollgate.jobs', 'to_jsonb(t)'],
    ['tollgate.idempotency_records', 'to_jsonb(t)'],
    ['tollgate.outbox', 'to_jsonb(t)'],
    ['public.ai_token_usage_log', 'to_jsonb(t)'],
  ];
  const rows = await Promise.all(
    tables.map(async ([table, row]) => {
      const answer = await database.superuser.query(
        `select ${row} as row from ${table} t where t.organization_id = $1 order by (${row})::text`,
        [organizationId],
      );
      return [table, answer.rows.map((each) => each.row)];
    }),
  );
  return Object.fromEntries(rows);
}
