import type { Act } from '../db/act.ts';
import { principalOf } from './caller.ts';
import type { ApiContext } from './requestContext.ts';

/** Who acts, as the audit log keeps it. */
export function actOf(c: ApiContext): Act {
  return {
    actor: principalOf(c.get('caller')),
    reason: c.get('operatorReason') ?? null,
    requestId: c.get('requestId'),
  };
}
