import { createMiddleware } from 'hono/factory';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Lets through requests with an acceptable Idempotency-Key, and leaves it in `idempotencyKey`. */
export const idempotencyKey = createMiddleware<ApiEnv>(async (c, next) => {
  const key = c.req.header('idempotency-key');
  if (key === undefined) return problemReply(c, 'idempotency_key_missing');
  if (!/^[\x20-\x7e]{1,255}$/.test(key)) return problemReply(c, 'idempotency_key_invalid');
  c.set('idempotencyKey', key);
  return next();
});
