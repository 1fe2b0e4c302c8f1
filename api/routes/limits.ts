import { Hono } from 'hono';
import {
  type Limit,
  type LimitList,
  liftLimit,
  limitRequest,
  listLimits,
  setLimit,
  wholeLimitQuery,
} from '../../contract/limits.ts';
import { changeSubLimit, listSubLimits, type WhichLimit } from '../../db/subLimits.ts';
import type { LimitRefusal } from '../../domain/refusals.ts';
import { actOf, lostRight } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';

/** What users, keys and features of an organization may use at most. */
export function limitRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();

  mount(routes, authentication, listLimits, async (c) => {
    return c.json({ limits: await listSubLimits(pool, c.get('organizationId')) } satisfies LimitList);
  });

  mount(routes, authentication, setLimit, jsonBody, async (c) => {
    const organizationId = c.get('organizationId');
    const parsed = limitRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const { tokens, ...which } = parsed.data;
    const outcome = await changeSubLimit(pool, actOf(c), organizationId, which, tokens);
    if (outcome !== 'set') return refuse(c, outcome);
    const now = (await listSubLimits(pool, organizationId)).find((limit) => isSame(limit, which));
    // Somebody else lifted it since.
    return now === undefined ? problemReply(c, 'limit_not_found') : c.json(now satisfies Limit);
  });

  mount(routes, authentication, liftLimit, async (c) => {
    const query = wholeLimitQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const outcome = await changeSubLimit(pool, actOf(c), c.get('organizationId'), query.data, null);
    return outcome === 'lifted' ? c.body(null, 204) : refuse(c, outcome);
  });

  return routes;
}

function refuse(c: ApiContext, outcome: LimitRefusal | 'set' | 'lifted'): Response {
  switch (outcome) {
    case 'not_an_admin':
      return problemReply(c, lostRight(c));
    case 'organization_unknown':
      return problemReply(c, 'organization_not_found');
    case 'limit_unknown':
      return problemReply(c, 'limit_not_found');
    case 'too_many_limits':
      return problemReply(c, 'too_many_limits');
    case 'set':
    case 'lifted':
      throw new Error(`change_sub_limit answered ${outcome} to the opposite`);
  }
}

function isSame(limit: WhichLimit, { tokenType, scope, subject, every }: WhichLimit): boolean {
  return limit.tokenType === tokenType && limit.scope === scope && limit.subject === subject && limit.every === every;
}
