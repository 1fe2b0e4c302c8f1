import { createMiddleware } from 'hono/factory';
import type { Pool } from 'pg';
import { type ApiKeyScope, authenticateKey } from '../../db/apiKeys.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Lets through whoever sends a live API key with the scope, and leaves the key's owner in `caller`. */
export function authenticated(pool: Pool, scope: ApiKeyScope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const secret = bearerKey(c.req.header('authorization'));
    const caller = secret === null ? null : await authenticateKey(pool, secret);
    if (caller === null) return problemReply(c, 'unauthorized');
    // For the log, also when the scope is missing.
    c.set('caller', caller);
    if (!caller.scopes.includes(scope)) return problemReply(c, 'scope_missing', { scope });
    return next();
  });
}

/** What cannot be a key is refused without asking the database. */
function bearerKey(authorization: string | undefined): string | null {
  return /^Bearer +(tg_(?:live|test)_[A-Za-z0-9_-]{43})$/i.exec(authorization ?? '')?.[1] ?? null;
}
