import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { createMiddleware } from 'hono/factory';
import { secureHeaders } from 'hono/secure-headers';
import { headerOf } from '../headerOf.ts';
import type { ApiEnv } from '../requestContext.ts';

/** What Hono's own middleware sets, asked of it once; the library knows best which these are. */
const ALWAYS = [
  ...(
    await new Hono()
      .use(secureHeaders())
      .get('/', (c) => c.body(null, 204))
      .request('/')
  ).headers,
  ['cache-control', 'no-store'],
] as const;

/**
 * What every answer carries, and the request's id, the caller's own or a new one, in `requestId`. Set on Node's response: a header
 * of Hono's costs several objects each, and one that is set behind the handler has the answer built a second time, half of all
 * that a check cost.
 */
export function answerHeaders(isDraining: () => boolean) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const { outgoing } = c.env;
    const given = headerOf(c, 'x-request-id');
    const requestId = given !== undefined && ACCEPTABLE_ID.test(given) ? given : randomUUID();
    c.set('requestId', requestId);
    for (const [name, value] of ALWAYS) outgoing.setHeader(name, value);
    outgoing.setHeader('x-request-id', requestId);
    await next();
    // Whoever keeps the connection must not send the next request to a process that ends.
    if (isDraining()) outgoing.setHeader('connection', 'close');
  });
}

const ACCEPTABLE_ID = /^[\w\-=]{1,64}$/;
