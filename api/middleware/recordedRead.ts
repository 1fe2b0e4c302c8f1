import { createMiddleware } from 'hono/factory';
import type { Pool } from 'pg';
import type { Operation } from '../../contract/operation.ts';
import { recordAct } from '../../db/auditLog.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import { principalOf } from '../caller.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/**
 * What an operator reads of an organization is an act, and in the audit log before he is answered, also when he mistyped
 * the rest. The organization is the one that the address names, or the query.
 */
export function recordedRead({ pool }: { pool: Pool }, { id }: Operation) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const caller = c.get('caller');
    if (caller.kind !== 'operator') return next();
    const named = c.get('organizationId') ?? c.req.query('organizationId');
    const outcome = await recordAct(pool, {
      actor: principalOf(caller),
      organizationId: named !== undefined && ID_PATTERN.test(named) ? named : null,
      act: id,
      reason: c.get('operatorReason'),
      requestId: c.get('requestId'),
    });
    switch (outcome) {
      case 'recorded':
        return next();
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
    }
  });
}
