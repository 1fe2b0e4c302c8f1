import { createMiddleware } from 'hono/factory';
import type { Pool } from 'pg';
import type { Logger } from 'pino';
import type { Operation } from '../../contract/operation.ts';
import type { Credentials, Membership } from '../../db/credentials.ts';
import { authenticateOperator } from '../../db/operators.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import { type Caller, mayDo } from '../caller.ts';
import { headerOf } from '../headerOf.ts';
import { problemReply } from '../problemReply.ts';
import type { RateLimits } from '../rateLimits.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';
import type { Sessions } from '../sessions.ts';

export interface Authentication {
  pool: Pool;
  sessions: Sessions;
  credentials: Credentials;
  log: Logger;
  limits: RateLimits;
}

/**
 * Lets through whoever sends a live API key, a valid session token or an operator's credential, and may ask for this
 * operation by its line; leaves who that is in `caller`. Where a key may have one of several scopes, the handler asks which.
 */
export function authenticated(authentication: Authentication, { access }: Operation) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    if (access === 'anyone') return next();
    const caller = await callerOf(authentication, headerOf(c, 'authorization'));
    if (caller === 'nobody') return (await authentication.limits.ofFailures(c)) ?? problemReply(c, 'unauthorized');
    if ('unavailable' in caller) {
      authentication.log.warn(
        { requestId: c.get('requestId'), reason: caller.unavailable },
        'sessions cannot be checked',
      );
      return problemReply(c, 'sign_in_unavailable');
    }
    // For the log, also when the scope is missing.
    c.set('caller', caller);
    const refusal = await authentication.limits.ofCaller(c);
    if (refusal !== null) return refusal;
    if (caller.kind === 'key') {
      const refusalOfAll = await authentication.limits.ofOrganization(c, caller.organizationId);
      if (refusalOfAll !== null) return refusalOfAll;
    }
    if (caller.kind === 'operator') return admitOperator(c, access === 'operators' || access.operators, next);
    if (access === 'operators') return problemReply(c, 'operators_only');
    const [scope, another] = access.scopes;
    if (another === undefined && !mayDo(caller, scope!)) return problemReply(c, 'scope_missing', { scope: scope! });
    return next();
  });
}

/**
 * Leaves the caller's own organization in `organizationId`: the key's, or by the user's profile. Where the address names one
 * it must be that; where only admins may, a user must be one.
 */
export function ownOrganization({ credentials, limits }: Authentication, { access }: Operation) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const caller = c.get('caller');
    const named = c.req.param('organizationId');
    if (caller.kind === 'operator') {
      // Whether there is one of this name is found out where it is read or changed.
      if (!ID_PATTERN.test(named!)) return problemReply(c, 'organization_not_found');
      c.set('organizationId', named!);
      return next();
    }
    const membership: Membership | null =
      caller.kind === 'key'
        ? { organizationId: caller.organizationId, role: 'admin' }
        : await credentials.membershipOf(caller.id);
    if (membership === null || (named !== undefined && named !== membership.organizationId)) {
      return problemReply(c, 'not_your_organization');
    }
    c.set('organizationId', membership.organizationId);
    // A key's was counted with the key.
    const refusal = caller.kind === 'user' ? await limits.ofOrganization(c, membership.organizationId) : null;
    if (refusal !== null) return refusal;
    const isForAdmins = typeof access !== 'string' && access.role === 'admin';
    if (isForAdmins && membership.role !== 'admin') return problemReply(c, 'admins_only');
    return next();
  });
}

async function callerOf(
  { pool, sessions, credentials }: Authentication,
  authorization: string | undefined,
): Promise<Caller | 'nobody' | { unavailable: string }> {
  const credential = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  if (credential === undefined) return 'nobody';
  if (credential.startsWith('tg_')) {
    // What cannot be one is refused without asking the database.
    if (KEY.test(credential)) {
      const key = await credentials.keyOf(credential);
      return key === null ? 'nobody' : { kind: 'key', ...key };
    }
    const operator = OPERATOR.test(credential) ? await authenticateOperator(pool, credential) : null;
    return operator === null ? 'nobody' : { kind: 'operator', ...operator };
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

/** An operator always says why: it is kept with what he does. */
async function admitOperator(
  c: ApiContext,
  isAdmitted: boolean,
  next: () => Promise<void>,
): Promise<Response | undefined> {
  if (!isAdmitted) return problemReply(c, 'not_your_organization');
  const reason = headerOf(c, 'tollgate-reason')?.trim() ?? '';
  if (!/^[\x20-\x7e]{3,500}$/.test(reason)) return problemReply(c, 'operator_reason_missing');
  c.set('operatorReason', reason);
  await next();
  return undefined;
}

const KEY = /^tg_(?:live|test)_[A-Za-z0-9_-]{43}$/;
const OPERATOR = /^tg_op_[A-Za-z0-9_-]{43}$/;
