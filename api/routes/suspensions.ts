import { Hono } from 'hono';
import {
  resumeOrganization as resumeOperation,
  type Suspension,
  suspendOrganization as suspendOperation,
} from '../../contract/suspensions.ts';
import { resumeOrganization, suspendOrganization } from '../../db/suspensions.ts';
import { actOf } from '../actOf.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Whether anything new is admitted for an organization: for operators. */
export function suspensionRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, suspendOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const made = await suspendOrganization(pool, { ...actOf(c), organizationId });
    switch (made.outcome) {
      case 'suspended':
        return c.json({ organizationId, suspendedSince: made.suspendedSince.toISOString() } satisfies Suspension);
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
    }
  });

  mount(routes, authentication, resumeOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const made = await resumeOrganization(pool, { ...actOf(c), organizationId });
    switch (made.outcome) {
      case 'resumed':
        return c.json({ organizationId, suspendedSince: null } satisfies Suspension);
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
    }
  });

  return routes;
}
