import { createMiddleware } from 'hono/factory';
import type { Pool } from 'pg';
import { settleDue } from '../../db/balances.ts';
import { principalOf } from '../caller.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Books what has fallen due in the caller's organization before its rows are read: time takes effect in the call that looks. */
export function settled(pool: Pool) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    const principal = principalOf(c.get('caller'));
    const outcome = await settleDue(pool, { organizationId: c.get('organizationId'), principal });
    return outcome === 'settled' ? next() : problemReply(c, 'not_your_organization');
  });
}
