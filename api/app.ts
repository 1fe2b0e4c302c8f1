import { Hono } from 'hono';
import { methodNotAllowed } from 'hono/method-not-allowed';
import { requestId } from 'hono/request-id';
import { secureHeaders } from 'hono/secure-headers';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { ApiConfig } from '../config.ts';
import { BALANCES_PATH } from '../contract/balances.ts';
import { CHARGES_PATH } from '../contract/charges.ts';
import { HOLDS_PATH } from '../contract/holds.ts';
import { JOBS_PATH } from '../contract/jobs.ts';
import { LEDGER_PATH } from '../contract/ledger.ts';
import { QUOTES_PATH } from '../contract/quotes.ts';
import { STATEMENTS_PATH } from '../contract/statements.ts';
import { TOKENS_PATH } from '../contract/tokens.ts';
import type { Coalescer } from '../db/coalescer.ts';
import type { JobWaiters } from './jobWaiters.ts';
import type { JobWorkflows } from './jobWorkflows.ts';
import { requestLog } from './middleware/requestLog.ts';
import { problemReply } from './problemReply.ts';
import type { ApiEnv } from './requestContext.ts';
import { balanceRoutes } from './routes/balances.ts';
import { chargeRoutes } from './routes/charges.ts';
import { healthRoutes } from './routes/health.ts';
import { holdStepRoutes } from './routes/holdSteps.ts';
import { holdRoutes } from './routes/holds.ts';
import { jobRoutes } from './routes/jobs.ts';
import { ledgerRoutes } from './routes/ledger.ts';
import { quoteRoutes } from './routes/quotes.ts';
import { statementRoutes } from './routes/statements.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { createRowQueue } from './rowQueue.ts';
import type { Sessions } from './sessions.ts';
import { troubleOf } from './troubleOf.ts';

export interface AppDependencies {
  pool: Pool;
  /** Over the same database as the pool: what many callers ask for at once goes through it. */
  ledger: Coalescer;
  sessions: Sessions;
  workflows: JobWorkflows;
  waiters: JobWaiters;
  config: Pick<ApiConfig, 'ADMISSION_HOLD_MS' | 'JOB_TIME_BUDGET_MS' | 'LEDGER_SIGNING_KEY'>;
  log: Logger;
  /** True from the moment on that the process has been asked to end. */
  isDraining: () => boolean;
}

/** The HTTP API. Everything that it cannot answer is answered as a problem of the catalogue. */
export function createApp({
  pool,
  ledger,
  sessions,
  workflows,
  waiters,
  config,
  log,
  isDraining,
}: AppDependencies): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();

  app.use(requestId({ limitLength: 64 }));
  app.use(requestLog(log));
  app.use(secureHeaders());
  app.use(async (c, next) => {
    await next();
    c.header('Cache-Control', 'no-store');
    // Whoever keeps the connection must not send the next request to a process that ends.
    if (isDraining()) c.header('Connection', 'close');
  });
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => problemReply(c, 'method_not_allowed', {}, { Allow: methods.join(', ') }),
    }),
  );

  app.route('/', healthRoutes({ pool, workflows, isDraining }));
  const limits = { holdLifetimeMs: config.ADMISSION_HOLD_MS, timeBudgetMs: config.JOB_TIME_BUDGET_MS };
  app.route(JOBS_PATH, jobRoutes({ pool, sessions, workflows, waiters, limits, log }));
  const sendRows = createRowQueue();
  app.route(HOLDS_PATH, holdRoutes({ pool, sessions, log }, ledger, sendRows));
  app.route(HOLDS_PATH, holdStepRoutes({ pool, sessions, log }, ledger, sendRows));
  app.route(CHARGES_PATH, chargeRoutes({ pool, sessions, log }));
  app.route(QUOTES_PATH, quoteRoutes({ pool, sessions, log }));
  app.route(TOKENS_PATH, tokenRoutes({ pool, sessions, log }, ledger));
  app.route(BALANCES_PATH, balanceRoutes({ pool, sessions, log }));
  app.route(LEDGER_PATH, ledgerRoutes({ pool, sessions, log }, config.LEDGER_SIGNING_KEY));
  app.route(STATEMENTS_PATH, statementRoutes({ pool, sessions, log }));

  app.notFound((c) => problemReply(c, 'route_not_found'));
  app.onError((error, c) => problemReply(c, troubleOf(error, log, c.get('requestId'))));
  return app;
}
