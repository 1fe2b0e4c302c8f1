import { Hono } from 'hono';
import type { Pool } from 'pg';
import type { Liveness, Readiness } from '../../contract/health.ts';
import { databaseCondition } from '../databaseCondition.ts';
import type { JobWorkflows } from '../jobWorkflows.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Less than the 2 s that probes commonly give. */
const DATABASE_PATIENCE_MS = 1_500;
const TEMPORAL_PATIENCE_MS = 1_000;

/**
 * `/healthz`: the process answers. `/readyz`: it can take requests: the database answers and has our prices. Temporal is
 * reported but not required: without it, reads and refusals are still served, and new jobs get a clean 503.
 */
export function healthRoutes(options: { pool: Pool; workflows: JobWorkflows; isDraining: () => boolean }) {
  const { pool, workflows, isDraining } = options;
  const routes = new Hono<ApiEnv>();

  routes.get('/healthz', (c) => c.json({ status: 'alive' } satisfies Liveness));

  routes.get('/readyz', async (c) => {
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
