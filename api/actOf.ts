import type { Act } from '../db/organizations.ts';
import { principalOf } from './caller.ts';
import type { ApiContext } from './requestContext.ts';

/** Who is doing this, and why, as the audit log keeps it: only an operator gives a reason. */
export function actOf(c: ApiContext): Act {
  return {
    actor: principalOf(c.get('caller')),
    reason: c.get('operatorReason') ?? null,
    requestId: c.get('requestId'),
  };
}

/** The answer to somebody who was let in and has lost the right by the time that it counts. */
export function lostRight(c: ApiContext): 'unauthorized' | 'admins_only' {
  return c.get('caller').kind === 'operator' ? 'unauthorized' : 'admins_only';
}
