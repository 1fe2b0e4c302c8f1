import { Hono } from 'hono';
import { getStatements, type StatementList, statementQuery } from '../../contract/statements.ts';
import { monthlyStatements } from '../../db/statements.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { settled } from '../middleware/settled.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiEnv } from '../requestContext.ts';

/** What a month brought and took, token type by token type. */
export function statementRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, getStatements, settled(pool), async (c) => {
    const query = statementQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { month } = query.data;
    const found = await monthlyStatements(pool, { organizationId: c.get('organizationId'), ...query.data });
    if (found === 'is_ahead') {
      return problemReply(c, 'invalid_request', { errors: [{ path: 'month', message: 'must have begun' }] });
    }
    const { startsAt, endsAt, ...rest } = found;
    return c.json({
      month,
      ...rest,
      startsAt: startsAt.toISOString(),
      endsAt: endsAt.toISOString(),
    } satisfies StatementList);
  });

  return routes;
}
