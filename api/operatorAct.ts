import type { OperatorAct, OperatorRefusal } from '../db/suspensions.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { principalOf } from './caller.ts';
import { problemReply } from './problemReply.ts';
import type { ApiContext } from './requestContext.ts';

/** What an operator does to the organization of the address; null where that cannot be one. */
export function operatorAct(c: ApiContext): OperatorAct | null {
  const organizationId = c.req.param('organizationId')!;
  if (!ID_PATTERN.test(organizationId)) return null;
  return {
    actor: principalOf(c.get('caller')),
    organizationId,
    reason: c.get('operatorReason'),
    requestId: c.get('requestId'),
  };
}

/** His credential may have been revoked since it was looked at. */
export function operatorRefused(c: ApiContext, outcome: OperatorRefusal): Response {
  return problemReply(c, outcome === 'not_an_operator' ? 'operators_only' : 'organization_not_found');
}
