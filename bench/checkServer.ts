import { Hono } from 'hono';
import type { Pool } from 'pg';
import { pino } from 'pino';
import { createApp } from '../api/app.ts';
import { createJobWaiters } from '../api/jobWaiters.ts';
import { createJobWorkflows } from '../api/jobWorkflows.ts';
import { authenticated } from '../api/middleware/authenticated.ts';
import { optionalIdempotencyKey } from '../api/middleware/idempotencyKey.ts';
import { jsonBody } from '../api/middleware/jsonBody.ts';
import { createRateLimits } from '../api/rateLimits.ts';
import type { ApiEnv } from '../api/requestContext.ts';
import { serve } from '../api/server.ts';
import { createSessions } from '../api/sessions.ts';
import { apiConfig, readConfig } from '../config.ts';
import { checkBalance, tokenRequest } from '../contract/tokens.ts';
import { createCoalescer } from '../db/coalescer.ts';
import { createCredentials } from '../db/credentials.ts';
import { createKeyUse } from '../db/keyUse.ts';
import { createPool } from '../db/pool.ts';

/**
 * The API as it is, and two foils. One is the same route with the same middleware, but a balance read by one plain select
 * from a plain table, without plan gate, membership or time. The other, on a port of its own, is Hono with that select and
 * nothing else: nobody signs in. Started by series/check.ts as a process of its own.
 */
export const FOIL_PATH = '/foil/check-balance';
export const BARE_PATH = '/check';

/** A single key sends all of it: the limits count every request, and are never reached. */
const UNREACHED = { RATE_LIMIT_PER_CALLER: 1e9, RATE_LIMIT_PER_ORGANIZATION: 1e9 };

if (import.meta.main) {
  const config = readConfig(apiConfig, process.env);
  const log = pino({ level: config.LOG_LEVEL });
  const pool = createPool({ url: config.DATABASE_URL, applicationName: 'tollgate-bench' });
  const sessions = createSessions(config);
  const credentials = createCredentials(pool, createKeyUse(pool, { onError: (error) => log.warn({ err: error }) }));
  const workflows = createJobWorkflows({ address: config.TEMPORAL_ADDRESS, namespace: 'default', taskQueue: 'none' });
  const app = createApp({
    pool,
    ledger: createCoalescer(pool),
    sessions,
    credentials,
    workflows,
    waiters: createJobWaiters({ pool, log }),
    config: { ...config, ...UNREACHED },
    log,
    isDraining: () => false,
  });
  app.post(
    FOIL_PATH,
    authenticated(
      { pool, sessions, credentials, log, limits: createRateLimits({ ...config, ...UNREACHED }) },
      checkBalance,
    ),
    optionalIdempotencyKey,
    jsonBody,
    async (c) => {
      const { organizationId } = tokenRequest.parse(c.get('body'));
      return c.json({ hasTokens: (await plainBalance(pool, organizationId)) >= 3 });
    },
  );
  // A pool of the same size, so that neither waits for the other's connections.
  const barePool = createPool({ url: config.DATABASE_URL, applicationName: 'tollgate-bench-foil' });
  const bare = new Hono<ApiEnv>().post(BARE_PATH, async (c) => {
    const { organizationId } = await c.req.json();
    return c.json({ hasTokens: (await plainBalance(barePool, organizationId)) >= 3 });
  });
  // The product last: it is by its answer that the starter knows that both are there.
  await serve(bare, { host: config.API_HOST, port: Number(process.env.BARE_PORT) });
  const server = await serve(app, { host: config.API_HOST, port: config.API_PORT });
  console.log(`listening at ${server.url}`);
  process.on('SIGTERM', () => process.exit(0));
}

async function plainBalance(pool: Pool, organizationId: string): Promise<number> {
  const { rows } = await pool.query({
    name: 'foil',
    text: 'select b.available from foil.balances b where b.organization_id = $1 and b.token_type = $2',
    values: [organizationId, 'goal_generation'],
  });
  return rows[0].available;
}
