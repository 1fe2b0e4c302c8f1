import { Hono } from 'hono';
import { getRetention, type Retention, retention, setRetention as setOperation } from '../../contract/retention.ts';
import { findRetention, setRetention } from '../../db/retention.ts';
import { actOf } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** For how long an organization keeps prompts, results and idempotency records. The worker erases what is over. */
export function retentionRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, getRetention, async (c) => {
    const found = await findRetention(pool, c.get('organizationId'));
    return found === null ? problemReply(c, 'organization_not_found') : c.json(found satisfies Retention);
  });

  mount(routes, authentication, setOperation, jsonBody, async (c) => {
    const parsed = retention.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const outcome = await setRetention(pool, {
      ...actOf(c),
      organizationId: c.get('organizationId'),
      retention: parsed.data,
    });
    switch (outcome) {
      case 'set':
      case 'unchanged':
        return c.json(parsed.data satisfies Retention);
      case 'not_an_admin':
        return problemReply(c, 'admins_only');
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
    }
  });

  return routes;
}
