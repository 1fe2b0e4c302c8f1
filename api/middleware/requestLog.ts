import { createMiddleware } from 'hono/factory';
import { routePath } from 'hono/route';
import type { Logger } from 'pino';
import { principalOf } from '../caller.ts';
import type { ApiEnv } from '../requestContext.ts';

/**
 * One line per request: what was asked for, by whom, and how it went. The route's pattern and not the path, no header, no
 * query and no body: whatever the caller sent stays out of the log, save
 * for a request id of his own.
 */
export function requestLog(log: Logger) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const startedAt = performance.now();
    await next();
    const { status } = c.res;
    const route = routePath(c, -1);
    const caller = c.get('caller');
    const line = {
      method: c.req.method,
      route: route === '/*' ? null : route,
      status,
      ms: Math.round((performance.now() - startedAt) * 10) / 10,
      requestId: c.get('requestId'),
      organizationId: c.get('organizationId') ?? (caller?.kind === 'key' ? caller.organizationId : null),
      principal: caller === undefined ? null : principalOf(caller),
    };
    const level = status >= 500 ? 'warn' : route === '/healthz' || route === '/readyz' ? 'debug' : 'info';
    log[level](line, 'request');
  });
}
