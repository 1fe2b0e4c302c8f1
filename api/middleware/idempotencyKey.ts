import { createMiddleware } from 'hono/factory';
import { headerOf } from '../headerOf.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Lets through requests with an acceptable Idempotency-Key, and leaves it in `idempotencyKey`. */
export const idempotencyKey = withKey({ isRequired: true });

/** The same where a request may do without: then `idempotencyKey` is null. */
export const optionalIdempotencyKey = withKey({ isRequired: false });

/** Refuses one where an array is taken: it would say that the array is done whole or not at all, and it is not. */
export const noIdempotencyKey = createMiddleware<ApiEnv>(async (c, next) =>
  headerOf(c, 'idempotency-key') === undefined ? next() : problemReply(c, 'idempotency_key_not_taken'),
);

function withKey({ isRequired }: { isRequired: boolean }) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const key = headerOf(c, 'idempotency-key');
    if (key === undefined && isRequired) return problemReply(c, 'idempotency_key_missing');
    if (key !== undefined && !/^[\x20-\x7e]{1,255}$/.test(key)) return problemReply(c, 'idempotency_key_invalid');
    c.set('idempotencyKey', key ?? null);
    return next();
  });
}
