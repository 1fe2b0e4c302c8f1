import { Hono } from 'hono';
import { type BalanceList, balanceQuery, getBalances, type PastBalanceList } from '../../contract/balances.ts';
import { listBalances, listBalancesAsOf } from '../../db/balances.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { settled } from '../middleware/settled.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiEnv } from '../requestContext.ts';

/** What the organization has, now or at a past moment. */
export function balanceRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, getBalances, settled(pool), async (c) => {
    const organizationId = c.get('organizationId');
    const query = balanceQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { at } = query.data;
    if (at === undefined) {
      const balances = await listBalances(pool, organizationId);
      return c.json({
        balances: balances.map((balance) => ({ ...balance, refreshDate: balance.refreshDate.toISOString() })),
      } satisfies BalanceList);
    }
    const balances = await listBalancesAsOf(pool, organizationId, at);
    if (balances === 'is_ahead') {
      return problemReply(c, 'invalid_request', { errors: [{ path: 'at', message: 'must not lie ahead' }] });
    }
    return c.json({ at, balances } satisfies PastBalanceList);
  });

  return routes;
}
