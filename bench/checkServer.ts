import { pino } from 'pino';
import { createApp } from '../api/app.ts';
import { createJobWaiters } from '../api/jobWaiters.ts';
import { createJobWorkflows } from '../api/jobWorkflows.ts';
import { authenticated } from '../api/middleware/authenticated.ts';
import { optionalIdempotencyKey } from '../api/middleware/idempotencyKey.ts';
import { jsonBody } from '../api/middleware/jsonBody.ts';
import { serve } from '../api/server.ts';
import { createSessions } from '../api/sessions.ts';
import { apiConfig, readConfig } from '../config.ts';
import { tokenRequest } from '../contract/tokens.ts';
import { createCoalescer } from '../db/coalescer.ts';
import { createPool } from '../db/pool.ts';

/**
 * The API as it is, and beside it the foil: the same middleware, the same body, but a balance read by one plain select
 * from a plain table, without plan gate, membership or time. Started by check.ts as a process of its own.
 */
export const FOIL_PATH = '/foil/check-balance';

if (import.meta.main) {
  const config = readConfig(apiConfig, process.env);
  const log = pino({ level: config.LOG_LEVEL });
  const pool = createPool({ url: config.DATABASE_URL, applicationName: 'tollgate-bench' });
  const sessions = createSessions(config);
  const workflows = createJobWorkflows({ address: config.TEMPORAL_ADDRESS, namespace: 'default', taskQueue: 'none' });
  const app = createApp({
    pool,
    ledger: createCoalescer(pool),
    sessions,
    workflows,
    waiters: createJobWaiters({ pool, log }),
    config,
    log,
    isDraining: () => false,
  });
  app.post(FOIL_PATH, authenticated({ pool, sessions, log }), optionalIdempotencyKey, jsonBody, async (c) => {
    const { organizationId } = tokenRequest.parse(c.get('body'));
    const { rows } = await pool.query({
      name: 'foil',
      text: `select t.balance from public.foil_tokens t where t.organization_id = $1 and t.token_type = $2`,
      values: [organizationId, 'goal_generation'],
    });
    return c.json({ hasTokens: rows[0].balance >= 3 });
  });
  const server = await serve(app, { host: config.API_HOST, port: config.API_PORT });
  console.log(`listening at ${server.url}`);
  process.on('SIGTERM', () => process.exit(0));
}
