import { Hono } from 'hono';
import { type Caps, capsRequest, setCaps as setCapsOperation } from '../../contract/caps.ts';
import { setCaps } from '../../db/caps.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { operatorAct, operatorRefused } from '../operatorAct.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** How much an organization may have open at once: for operators. */
export function capRoutes(authentication: Authentication) {
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, setCapsOperation, jsonBody, async (c) => {
    const parsed = capsRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const act = operatorAct(c);
    if (act === null) return operatorRefused(c, 'organization_unknown');
    const made = await setCaps(authentication.pool, act, parsed.data);
    if (made.outcome !== 'set') return operatorRefused(c, made.outcome);
    const { mostOpenHolds, mostOpenJobs } = made;
    return c.json({ organizationId: act.organizationId, mostOpenHolds, mostOpenJobs } satisfies Caps);
  });

  return routes;
}
