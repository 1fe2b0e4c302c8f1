import { randomUUID } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { requestHash } from '../../api/requestHash.ts';
import { admittedJob, job, jobList } from '../../contract/jobs.ts';
import { admitJob } from '../../db/jobs.ts';
import { FEATURE_TOKEN_TYPES, TOKEN_COSTS } from '../../domain/catalog.ts';
import { jobWorkflowId } from '../../domain/ids.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { expectProblem, GOAL, runToTheEnd, startTestApi, type TestApi, temporalClient, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let temporal: Client;
let organization: TestOrganization;

beforeAll(async () => {
  database = await freshDatabase();
  [api, temporal] = await Promise.all([startTestApi(database), temporalClient()]);
});
beforeEach(async () => {
  organization = await createOrganization(database.superuser);
});
afterAll(async () => {
  await expectInvariants(database.auditor);
  await Promise.all([api.close(), temporal.connection.close()]);
  await database.drop();
});

const goalTokens = () => balanceOf(database.superuser, organization.organizationId, 'goal_generation');
const workflowOf = (jobId: string) =>
  temporal.workflow.getHandle(jobWorkflowId(organization.organizationId, jobId)).describe();
const get = (path: string, by = organization) => api.call(path, { key: by.secret });

describe('asking for a job', () => {
  test('sets its tokens aside, starts its workflow with ids only, and answers 202 with where to look', async () => {
    const reply = await api.post(organization);
    expect(reply.status).toBe(202);
    const answer = admittedJob.parse(reply.body);
    expect(answer).toMatchObject({
      feature: 'generate_goal',
      state: 'admitted',
      tokenType: 'goal_generation',
      tokens: 3,
    });
    expect(reply.headers.get('location')).toBe(`/api/v1/jobs/${answer.id}`);
    expect(reply.headers.get('idempotent-replayed')).toBeNull();
    expect(reply.headers.get('cache-control')).toBe('no-store');
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });

    const workflow = await workflowOf(answer.id);
    expect(workflow.type).toBe('runJob');
    expect(await workflow.staticSummary()).toBe('generate_goal for 3 goal_generation tokens');
    expect(workflow.typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value])).toEqual(
      expect.arrayContaining([
        ['OrganizationId', organization.organizationId],
        ['Feature', 'generate_goal'],
        ['JobState', 'running'],
        ['TokensReserved', 3],
      ]),
    );
    const history = JSON.stringify((await temporal.workflow.getHandle(workflow.workflowId).fetchHistory()).events);
    expect(history).not.toContain('logistics');
  });

  test.each([
    ['generate_leads', { industry: 'logistics', region: 'Europe' }],
    ['generate_goal', GOAL.input],
    ['analyze_strategy', { strategy: 'Ship faster.' }],
    ['forecast_revenue', { product: 'Freight', currency: 'EUR', monthlyRevenue: [100, 120] }],
    ['generate_insight', { topic: 'What sells?' }],
  ] as const)('prices %s by the catalogue', async (feature, input) => {
    const reply = await api.post(organization, { feature, input });
    expect([reply.status, reply.body.tokens]).toEqual([202, TOKEN_COSTS[feature]]);
    expect(reply.body.tokenType).toBe(FEATURE_TOKEN_TYPES[feature]);
  });

  test('is refused with 402, what it costs and what there is, when the tokens do not suffice; the key stays free', async () => {
    for (let spent = 0; spent < 6; spent++) expect((await api.post(organization)).status).toBe(202);
    const before = await traces(database, organization.organizationId);
    const refusal = expectProblem(await api.post(organization, GOAL, 'too-much'), 'tokens_insufficient');
    expect(refusal).toMatchObject({ required: 3, available: 2, tokenType: 'goal_generation' });
    expect(await traces(database, organization.organizationId)).toEqual(before);
  });

  test('is refused with 403 "feature not available" on a plan without it', async () => {
    const starter = await createOrganization(database.superuser, 'starter');
    const before = await traces(database, starter.organizationId);
    expect(expectProblem(await api.post(starter), 'feature_not_available').title).toBe('Feature not available');
    expect(await traces(database, starter.organizationId)).toEqual(before);
  });
});

describe('repeating a request under its Idempotency-Key', () => {
  test('C3 answers the same bytes after the start, whatever became of the job, and moves nothing', async () => {
    const first = await api.post(organization, GOAL, 'same');
    const repeat = await api.post(organization, GOAL, 'same');
    expect(repeat.text).toBe(first.text);
    expect(repeat.status).toBe(202);
    expect(repeat.headers.get('idempotent-replayed')).toBe('true');
    expect(repeat.headers.get('location')).toBe(first.headers.get('location'));

    await runToTheEnd(database, organization.organizationId, first.body.id);
    const charged = await traces(database, organization.organizationId);
    expect((await api.post(organization, GOAL, 'same')).text).toBe(first.text);
    expect(await traces(database, organization.organizationId)).toEqual(charged);
    expect(charged).toMatchObject({ jobs: 1, holds: 1, records: 1 });
  });

  test('knows the request again whatever the order of its keys and its white space', async () => {
    const first = await api.post(organization, GOAL, 'same');
    const { feature, input } = GOAL;
    const rewritten = JSON.stringify(
      { input: { horizonMonths: input.horizonMonths, industry: input.industry }, feature },
      null,
      4,
    );
    const repeat = await api.call('/api/v1/jobs', {
      key: organization.secret,
      headers: { 'Idempotency-Key': 'same', 'Content-Type': 'application/json; charset=utf-8' },
      body: rewritten,
    });
    expect(repeat.text).toBe(first.text);
  });

  test('C2 starts the job that a process admitted and died before it could start it', async () => {
    const jobId = randomUUID();
    const { organizationId, principal } = organization;
    await admitJob(database.api, {
      organizationId,
      principal,
      jobId,
      ...GOAL,
      idempotencyKey: 'died',
      requestHash: requestHash('POST /api/v1/jobs', GOAL),
      holdLifetimeMs: 60_000,
      timeBudgetMs: 60_000,
    });
    const retry = await api.post(organization, GOAL, 'died');
    expect([retry.status, retry.body.id]).toEqual([202, jobId]);
    expect((await workflowOf(jobId)).status.name).toBe('RUNNING');
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
  });

  test('R4 a hundred times at once makes one job and a hundred equal answers', async () => {
    const replies = await Promise.all(Array.from({ length: 100 }, () => api.post(organization, GOAL, 'hundredfold')));
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies[0]!.status).toBe(202);
    expect(replies.filter(({ headers }) => headers.get('idempotent-replayed') === null)).toHaveLength(1);
    expect(await traces(database, organization.organizationId)).toMatchObject({ jobs: 1, holds: 1, records: 1 });
    expect(await goalTokens()).toMatchObject({ available: 17, held: 3 });
  });

  test('R5 with another body is refused with 422 and has no effect', async () => {
    await api.post(organization, GOAL, 'taken');
    const before = await traces(database, organization.organizationId);
    const other = { ...GOAL, input: { ...GOAL.input, horizonMonths: 6 } };
    expectProblem(await api.post(organization, other, 'taken'), 'idempotency_key_reused');
    expect(await traces(database, organization.organizationId)).toEqual(before);
  });

  test('R5 from another organization is a job of its own', async () => {
    const neighbour = await createOrganization(database.superuser);
    const [mine, theirs] = [await api.post(organization, GOAL, 'ours'), await api.post(neighbour, GOAL, 'ours')];
    expect([mine.status, theirs.status]).toEqual([202, 202]);
    expect(theirs.body.id).not.toBe(mine.body.id);
    expect(theirs.headers.get('idempotent-replayed')).toBeNull();
  });

  test('R1 as different jobs at once admits exactly what the balance bears', async () => {
    const replies = await Promise.all(Array.from({ length: 20 }, () => api.post(organization)));
    expect(replies.filter(({ status }) => status === 202)).toHaveLength(6);
    expect(replies.filter(({ status }) => status === 402)).toHaveLength(14);
    expect(await goalTokens()).toMatchObject({ available: 2, held: 18 });
  });
});

describe('reading a job', () => {
  test('shows its result only once it is charged, and why it ended when it was not', async () => {
    const { id } = (await api.post(organization)).body;
    expect(job.parse((await get(`/api/v1/jobs/${id}`)).body)).toMatchObject({
      state: 'admitted',
      result: null,
      end: null,
    });
    await runToTheEnd(database, organization.organizationId, id);
    const charged = job.parse((await get(`/api/v1/jobs/${id}`)).body);
    expect(charged).toMatchObject({
      state: 'charged',
      tokens: 3,
      debt: 0,
      result: { title: 'Ship faster' },
      end: null,
    });
    expect(charged.links).toEqual({ self: `/api/v1/jobs/${id}`, cancel: `/api/v1/jobs/${id}/cancel` });

    const cancelled = (await api.post(organization)).body.id;
    await api.call(`/api/v1/jobs/${cancelled}/cancel`, { method: 'POST', key: organization.secret });
    const { state, end } = job.parse((await get(`/api/v1/jobs/${cancelled}`)).body);
    expect([state, end?.code]).toEqual(['withdrawn', 'cancelled']);
    expect(end?.message).toMatch(/^The job was cancelled\./);
  });

  test("answers another organization's job, an unknown one and a malformed id alike: 404", async () => {
    const neighbour = await createOrganization(database.superuser);
    const { id } = (await api.post(neighbour)).body;
    for (const candidate of [id, randomUUID(), 'no%20id', 'x'.repeat(65), "'%3B--", '%00']) {
      expectProblem(await get(`/api/v1/jobs/${candidate}`), 'job_not_found');
    }
  });

  test('answers a wait at once when the job ends meanwhile, with the job as it ended', async () => {
    const { id } = (await api.post(organization)).body;
    const startedAt = performance.now();
    const waiting = get(`/api/v1/jobs/${id}?wait=20s`);
    await expect.poll(() => api.waiters.size()).toBe(1);
    await runToTheEnd(database, organization.organizationId, id);
    expect((await waiting).body.state).toBe('charged');
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    expect(api.waiters.size()).toBe(0);
  });

  test('answers a wait that is over, or of a job that ended before, with the job as it is', async () => {
    const { id } = (await api.post(organization)).body;
    expect((await get(`/api/v1/jobs/${id}?wait=0s`)).body.state).toBe('admitted');
    const timed = await get(`/api/v1/jobs/${id}?wait=1s`);
    expect([timed.status, timed.body.state]).toEqual([200, 'admitted']);
    await runToTheEnd(database, organization.organizationId, id);
    expect((await get(`/api/v1/jobs/${id}?wait=30s`)).body.state).toBe('charged');
  });

  test.each(['wait=31s', 'wait=20', 'wait=-1s', 'wait=1.5s', 'wait=1m', 'wait=', 'wait=1s&wait=2s', 'weight=1s'])(
    'refuses ?%s with 400',
    async (query) => {
      const { errors } = expectProblem(await get(`/api/v1/jobs/any?${query}`), 'invalid_request');
      expect(errors?.map(({ path }) => path)).toEqual([query.split('=')[0]]);
    },
  );
});

describe('listing jobs', () => {
  test('pages through every job once, newest first, also when several began within one millisecond', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 5; count++) ids.push((await api.post(organization)).body.id);
    await database.superuser.query(
      `update tollgate.jobs j set created_at = date_trunc('milliseconds', now() - interval '1 second') + n.position * interval '100 microseconds'
         from unnest($2::text[]) with ordinality as n (id, position)
        where j.organization_id = $1 and j.id = n.id`,
      [organization.organizationId, ids],
    );

    const seen: string[] = [];
    let cursor: string | null = null;
    do {
      const reply = await get(`/api/v1/jobs?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`);
      const page = jobList.parse(reply.body);
      seen.push(...page.jobs.map(({ id }) => id));
      cursor = page.nextCursor;
    } while (cursor !== null && seen.length < 10);
    expect(seen).toEqual(ids.toReversed());
  });

  test('shows only the organization of the key, and filters by state and feature', async () => {
    await api.post(await createOrganization(database.superuser));
    const { id } = (await api.post(organization)).body;
    await api.post(organization);
    await runToTheEnd(database, organization.organizationId, id);
    expect((await get('/api/v1/jobs')).body.jobs).toHaveLength(2);
    expect((await get('/api/v1/jobs?state=charged')).body.jobs).toMatchObject([{ id, state: 'charged' }]);
    expect((await get('/api/v1/jobs?feature=generate_leads')).body.jobs).toEqual([]);
  });

  test('refuses a cursor that was changed, or that belongs to another list', async () => {
    const neighbour = await createOrganization(database.superuser);
    for (let count = 0; count < 2; count++) await Promise.all([api.post(organization), api.post(neighbour)]);
    const cursor: string = (await get('/api/v1/jobs?limit=1')).body.nextCursor;
    const decoded = Buffer.from(cursor, 'base64url').toString();
    const shifted = Buffer.from(decoded.replace('2', '1')).toString('base64url');
    for (const bad of ['x', 'e30', shifted, `${cursor}AAAA`, cursor.slice(1)]) {
      expectProblem(await get(`/api/v1/jobs?cursor=${bad}`), 'invalid_request');
    }
    expectProblem(await get(`/api/v1/jobs?cursor=${cursor}&state=charged`), 'invalid_request');
    expectProblem(await get(`/api/v1/jobs?cursor=${cursor}`, neighbour), 'invalid_request');
    expect((await get(`/api/v1/jobs?cursor=${cursor}`)).status).toBe(200);
  });

  test.each([
    'limit=0',
    'limit=101',
    'limit=1e1',
    'limit=-1',
    'state=done',
    'feature=x',
    'organizationId=y',
    'limit=1&limit=2',
  ])('refuses ?%s with 400', async (query) => {
    const { errors } = expectProblem(await get(`/api/v1/jobs?${query}`), 'invalid_request');
    expect(errors?.map(({ path }) => path)).toEqual([query.split('=')[0]]);
  });
});
