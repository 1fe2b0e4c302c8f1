import { Hono } from 'hono';
import { getLiveness, getReadiness, type Liveness, type Readiness } from '../../contract/health.ts';
import { databaseCondition } from '../databaseCondition.ts';
import type { JobWorkflows } from '../jobWorkflows.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { mount } from '../mount.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Less than the 2 s that probes commonly give. */
const DATABASE_PATIENCE_MS = 1_500;
const TEMPORAL_PATIENCE_MS = 1_000;

/**
 * `/healthz`: the process answers. `/readyz`: it can take requests: the database answers and has our prices. Temporal is
 * reported but not required: without it, reads and refusals are still served, and new jobs get a clean 503.
 */
export function healthRoutes(
  authentication: Authentication,
  { workflows, isDraining }: { workflows: JobWorkflows; isDraining: () => boolean },
) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();

  mount(routes, authentication, getLiveness, (c) => c.json({ status: 'alive' } satisfies Liveness));

  mount(routes, authentication, getReadiness, async (c) => {
    const [condition, isReachable] = await Promise.all([
      databaseCondition(pool, DATABASE_PATIENCE_MS),
      workflows.isReachable(TEMPORAL_PATIENCE_MS),
    ]);
    const status = isDraining() ? 'draining' : condition.catalogue === 'matches' ? 'ready' : 'not_ready';
    const { database, catalogue } = condition;
    const temporal = isReachable ? 'reachable' : 'unreachable';
    return c.json({ status, database, catalogue, temporal } satisfies Readiness, status === 'ready' ? 200 : 503);
  });

  return routes;
}
