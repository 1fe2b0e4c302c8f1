import { Hono } from 'hono';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import {
  JOBS_PATH,
  jobLinks,
  jobListQuery,
  jobQuery,
  jobRequest,
  writeAdmittedJob,
  writeJob,
} from '../../contract/jobs.ts';
import type { ApiKeyScope } from '../../db/apiKeys.ts';
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
import { refuseCursor } from '../listCursor.ts';
import { authenticated, ownOrganization } from '../middleware/authenticated.ts';
import { idempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import { refusedRequest } from '../refusedRequest.ts';
import type { ApiEnv } from '../requestContext.ts';
import { requestHash } from '../requestHash.ts';
import type { Sessions } from '../sessions.ts';

export interface JobRouteDependencies {
  pool: Pool;
  sessions: Sessions;
  workflows: JobWorkflows;
  waiters: JobWaiters;
  limits: { holdLifetimeMs: number; timeBudgetMs: number };
  log: Logger;
}

export function jobRoutes(dependencies: JobRouteDependencies) {
  const { pool, waiters } = dependencies;
  const routes = new Hono<ApiEnv>();
  const member = (scope: ApiKeyScope) => [authenticated(dependencies, scope), ownOrganization(pool)] as const;

  routes.post('/', ...member('jobs:write'), idempotencyKey, jsonBody, async (c) => {
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
      case 'feature_not_available':
        return problemReply(c, 'feature_not_available');
      case 'limit_reached':
        return problemReply(c, 'limit_reached');
      case 'key_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'not_a_member':
        return problemReply(c, 'not_your_organization');
      case 'not_started':
        return problemReply(c, 'workflows_unavailable');
    }
  });

  routes.get('/', ...member('jobs:read'), async (c) => {
    const organizationId = c.get('organizationId');
    const query = jobListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor, state, feature } = query.data;
    const list = [organizationId, state, feature];
    const before = cursor === undefined ? null : readJobCursor(list, cursor);
    if (cursor !== undefined && before === null) return refuseCursor(c);

    // One more than asked for tells whether there is a next page.
    const found = await listJobs(pool, organizationId, {
      limit: limit + 1,
      before,
      ...(state === undefined ? {} : { state }),
      ...(feature === undefined ? {} : { feature }),
    });
    const page = found.slice(0, limit);
    const nextCursor = found.length > limit ? writeJobCursor(list, page.at(-1)!) : null;
    return c.json({ jobs: page.map(writeJob), nextCursor });
  });

  routes.get('/:id', ...member('jobs:read'), async (c) => {
    const organizationId = c.get('organizationId');
    const jobId = c.req.param('id');
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

  routes.post('/:id/cancel', ...member('jobs:write'), async (c) => {
    const jobId = c.req.param('id');
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
