import { Hono } from 'hono';
import {
  cancelJob as cancelJobOperation,
  getJob,
  JOBS_PATH,
  jobLinks,
  jobListQuery,
  jobQuery,
  jobRequest,
  listJobs as listJobsOperation,
  startJob,
  writeAdmittedJob,
  writeJob,
} from '../../contract/jobs.ts';
import { findJob, listJobs } from '../../db/jobs.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import { hasEnded } from '../../domain/jobStates.ts';
import { replyWith } from '../answer.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { takeJob } from '../jobAdmission.ts';
import { cancelJob } from '../jobCancellation.ts';
import { readJobCursor, writeJobCursor } from '../jobCursor.ts';
import type { JobWaiters } from '../jobWaiters.ts';
import type { JobWorkflows } from '../jobWorkflows.ts';
import { pageOf, refuseCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { idempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import { refusedRequest } from '../refusedRequest.ts';
import type { ApiEnv } from '../requestContext.ts';
import { requestHash } from '../requestHash.ts';

export interface JobRouteDependencies extends Authentication {
  workflows: JobWorkflows;
  waiters: JobWaiters;
  bounds: { holdLifetimeMs: number; timeBudgetMs: number };
}

export function jobRoutes(dependencies: JobRouteDependencies) {
  const { pool, waiters } = dependencies;
  const routes = new Hono<ApiEnv>();
  mount(routes, dependencies, startJob, idempotencyKey, jsonBody, async (c) => {
    const body = c.get('body');
    const parsed = jobRequest.safeParse(body);
    if (!parsed.success) return replyWith(c, refusedRequest(body, parsed.error));

    const reply = await takeJob(dependencies, {
      organizationId: c.get('organizationId'),
      principal: principalOf(c.get('caller')),
      request: parsed.data,
      idempotencyKey: c.get('idempotencyKey')!,
      requestHash: requestHash(`POST ${JOBS_PATH}`, body),
    });
    switch (reply.outcome) {
      case 'accepted':
        c.header('Location', jobLinks(reply.answer.id).self);
        if (reply.isRepeat) c.header('Idempotent-Replayed', 'true');
        return c.json(writeAdmittedJob(reply.answer), 202);
      case 'tokens_insufficient': {
        const { outcome, ...amounts } = reply;
        return problemReply(c, outcome, amounts);
      }
      case 'feature_unknown':
        return problemReply(c, 'feature_unknown', {
          errors: [{ path: 'feature', message: 'The catalogue in force has no such feature.' }],
        });
      case 'organization_suspended':
      case 'feature_not_available':
      case 'too_many_jobs':
      case 'too_many_holds':
      case 'limit_reached':
        return problemReply(c, reply.outcome);
      case 'key_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'not_a_member':
        return problemReply(c, 'not_your_organization');
      case 'not_started':
        return problemReply(c, 'workflows_unavailable');
    }
  });

  mount(routes, dependencies, listJobsOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const query = jobListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor, state, feature } = query.data;
    const list = [organizationId, state, feature];
    const before = cursor === undefined ? null : readJobCursor(list, cursor);
    if (cursor !== undefined && before === null) return refuseCursor(c);

    const found = await listJobs(pool, organizationId, {
      limit: limit + 1,
      before,
      ...(state === undefined ? {} : { state }),
      ...(feature === undefined ? {} : { feature }),
    });
    const { page, nextCursor } = pageOf(found, limit, (last) => writeJobCursor(list, last));
    return c.json({ jobs: page.map(writeJob), nextCursor });
  });

  mount(routes, dependencies, getJob, async (c) => {
    const organizationId = c.get('organizationId');
    const jobId = c.req.param('jobId')!;
    const query = jobQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const find = async () => (ID_PATTERN.test(jobId) ? findJob(pool, organizationId, jobId) : null);

    let job = await find();
    if (job !== null && query.data.wait && !hasEnded(job.state)) {
      const waited = await waiters.wait(
        { organizationId, jobId },
        { timeoutMs: query.data.wait, signal: c.req.raw.signal },
      );
      if (waited === 'too_many') return problemReply(c, 'too_many_waiters');
      job = await find();
    }
    return job === null ? problemReply(c, 'job_not_found') : c.json(writeJob(job));
  });

  mount(routes, dependencies, cancelJobOperation, async (c) => {
    const jobId = c.req.param('jobId')!;
    if (!ID_PATTERN.test(jobId)) return problemReply(c, 'job_not_found');
    const reply = await cancelJob(dependencies, c.get('organizationId'), jobId);
    switch (reply.outcome) {
      case 'withdrawn':
        return c.json(writeJob(reply.job), 200);
      case 'asked':
        return c.json(writeJob(reply.job), 202);
      case 'job_unknown':
        return problemReply(c, 'job_not_found');
      case 'job_ended':
        return problemReply(c, 'job_already_ended');
      case 'not_asked':
        return problemReply(c, 'workflows_unavailable');
    }
  });

  return routes;
}
