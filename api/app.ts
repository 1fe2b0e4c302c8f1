import { Hono } from 'hono';
import { methodNotAllowed } from 'hono/method-not-allowed';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { ApiConfig } from '../config.ts';
import type { Coalescer } from '../db/coalescer.ts';
import type { Credentials } from '../db/credentials.ts';
import type { JobWaiters } from './jobWaiters.ts';
import type { JobWorkflows } from './jobWorkflows.ts';
import { answerHeaders } from './middleware/answerHeaders.ts';
import { requestLog } from './middleware/requestLog.ts';
import { problemReply } from './problemReply.ts';
import { createRateLimits, type RateLimitConfig } from './rateLimits.ts';
import type { ApiEnv } from './requestContext.ts';
import { adjustmentRoutes } from './routes/adjustments.ts';
import { auditRoutes } from './routes/auditLog.ts';
import { balanceRoutes } from './routes/balances.ts';
import { capRoutes } from './routes/caps.ts';
import { chargeRoutes } from './routes/charges.ts';
import { docsRoutes } from './routes/docs.ts';
import { healthRoutes } from './routes/health.ts';
import { holdStepRoutes } from './routes/holdSteps.ts';
import { holdRoutes } from './routes/holds.ts';
import { jobRoutes } from './routes/jobs.ts';
import { keyRoutes } from './routes/keys.ts';
import { ledgerRoutes } from './routes/ledger.ts';
import { limitRoutes } from './routes/limits.ts';
import { memberRoutes } from './routes/members.ts';
import { organizationRoutes } from './routes/organizations.ts';
import { quoteRoutes } from './routes/quotes.ts';
import { retentionRoutes } from './routes/retention.ts';
import { settingRoutes } from './routes/settings.ts';
import { statementRoutes } from './routes/statements.ts';
import { suspensionRoutes } from './routes/suspensions.ts';
import { tokenRoutes } from './routes/tokens.ts';
import { usageRoutes } from './routes/usage.ts';
import { createRowQueue } from './rowQueue.ts';
import type { Sessions } from './sessions.ts';
import { troubleOf } from './troubleOf.ts';

export interface AppDependencies {
  pool: Pool;
  /** Over the same database as the pool: what many callers ask for at once goes through it. */
  ledger: Coalescer;
  sessions: Sessions;
  credentials: Credentials;
  workflows: JobWorkflows;
  waiters: JobWaiters;
  config: RateLimitConfig & Pick<ApiConfig, 'ADMISSION_HOLD_MS' | 'JOB_TIME_BUDGET_MS' | 'LEDGER_SIGNING_KEY'>;
  log: Logger;
  /** True from the moment on that the process has been asked to end. */
  isDraining: () => boolean;
}

/** The HTTP API. Everything that it cannot answer is answered as a problem of the catalogue. */
export function createApp({
  pool,
  ledger,
  sessions,
  credentials,
  workflows,
  waiters,
  config,
  log,
  isDraining,
}: AppDependencies): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>();

  app.use(answerHeaders(isDraining));
  app.use(requestLog(log));
  app.use(
    methodNotAllowed({
      app,
      onMethodNotAllowed: (c, methods) => problemReply(c, 'method_not_allowed', {}, { Allow: methods.join(', ') }),
    }),
  );

  const authentication = { pool, sessions, credentials, log, limits: createRateLimits(config) };
  app.route('/', healthRoutes(authentication, { workflows, isDraining }));
  const bounds = { holdLifetimeMs: config.ADMISSION_HOLD_MS, timeBudgetMs: config.JOB_TIME_BUDGET_MS };
  app.route('/', jobRoutes({ ...authentication, workflows, waiters, bounds }));
  const sendRows = createRowQueue();
  app.route('/', holdRoutes(authentication, ledger, sendRows));
  app.route('/', holdStepRoutes(authentication, ledger, sendRows));
  app.route('/', chargeRoutes(authentication));
  app.route('/', quoteRoutes(authentication));
  app.route('/', tokenRoutes(authentication, ledger));
  app.route('/', balanceRoutes(authentication));
  app.route('/', ledgerRoutes(authentication, config.LEDGER_SIGNING_KEY));
  app.route('/', statementRoutes(authentication));
  app.route('/', keyRoutes(authentication));
  app.route('/', limitRoutes(authentication));
  app.route('/', settingRoutes(authentication));
  app.route('/', organizationRoutes(authentication));
  app.route('/', memberRoutes(authentication));
  app.route('/', adjustmentRoutes(authentication));
  app.route('/', auditRoutes(authentication));
  app.route('/', suspensionRoutes(authentication));
  app.route('/', capRoutes(authentication));
  app.route('/', usageRoutes(authentication));
  app.route('/', retentionRoutes(authentication));
  app.route('/', docsRoutes(authentication));

  app.notFound((c) => problemReply(c, 'route_not_found'));
  app.onError((error, c) => problemReply(c, troubleOf(error, log, c.get('requestId'))));
  return app;
}
