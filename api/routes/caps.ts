import { Hono } from 'hono';
import { type Caps, capsRequest, setCaps as setCapsOperation } from '../../contract/caps.ts';
import { setCaps } from '../../db/caps.ts';
import { actOf } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** How much an organization may have open at once: for operators. */
export function capRoutes(authentication: Authentication) {
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, setCapsOperation, jsonBody, async (c) => {
    const parsed = capsRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const organizationId = c.get('organizationId');
    const made = await setCaps(authentication.pool, { ...actOf(c), organizationId }, parsed.data);
    switch (made.outcome) {
      case 'set': {
        const { mostOpenHolds, mostOpenJobs } = made;
        return c.json({ organizationId, mostOpenHolds, mostOpenJobs } satisfies Caps);
      }
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
    }
  });

  return routes;
}
