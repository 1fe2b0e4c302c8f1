import { createMiddleware } from 'hono/factory';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import { type ApiKeyScope, authenticateKey } from '../../db/apiKeys.ts';
import { organizationOf } from '../../db/members.ts';
import { type Caller, mayDo } from '../caller.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';
import type { Sessions } from '../sessions.ts';

export interface Authentication {
  pool: Pool;
  sessions: Sessions;
  log: Logger;
}

/**
 * Lets through whoever sends a live API key or a valid session token, and leaves who that is in `caller`. A key needs the
 * scope; where it depends on the body, none is named here and the handler asks.
 */
export function authenticated(authentication: Authentication, scope?: ApiKeyScope) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const caller = await callerOf(authentication, c.req.header('authorization'));
    if (caller === 'nobody') return problemReply(c, 'unauthorized');
    if ('unavailable' in caller) {
      authentication.log.warn(
        { requestId: c.get('requestId'), reason: caller.unavailable },
        'sessions cannot be checked',
      );
      return problemReply(c, 'sign_in_unavailable');
    }
    // For the log, also when the scope is missing.
    c.set('caller', caller);
    if (scope !== undefined && !mayDo(caller, scope)) return problemReply(c, 'scope_missing', { scope });
    return next();
  });
}

/** Leaves the caller's own organization in `organizationId`: the key's, or by the user's profile. */
export function ownOrganization(pool: Pool) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const caller = c.get('caller');
    const organizationId = caller.kind === 'key' ? caller.organizationId : await organizationOf(pool, caller.id);
    if (organizationId === null) return problemReply(c, 'not_your_organization');
    c.set('organizationId', organizationId);
    return next();
  });
}

async function callerOf(
  { pool, sessions }: Authentication,
  authorization: string | undefined,
): Promise<Caller | 'nobody' | { unavailable: string }> {
  const credential = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  if (credential === undefined) return 'nobody';
  if (credential.startsWith('tg_')) {
    // What cannot be a key is refused without asking the database.
    const key = KEY.test(credential) ? await authenticateKey(pool, credential) : null;
    return key === null ? 'nobody' : { kind: 'key', ...key };
  }
  const verdict = await sessions.verify(credential);
  switch (verdict.outcome) {
    case 'signed_in':
      return { kind: 'user', id: verdict.userId };
    case 'refused':
      return 'nobody';
    case 'unavailable':
      return { unavailable: verdict.reason };
  }
}

const KEY = /^tg_(?:live|test)_[A-Za-z0-9_-]{43}$/;
