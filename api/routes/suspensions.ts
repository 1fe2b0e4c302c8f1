import { Hono } from 'hono';
import {
  resumeOrganization as resumeOperation,
  type Suspension,
  suspendOrganization as suspendOperation,
} from '../../contract/suspensions.ts';
import { resumeOrganization, suspendOrganization } from '../../db/suspensions.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { mount } from '../mount.ts';
import { operatorAct, operatorRefused } from '../operatorAct.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Whether anything new is admitted for an organization: for operators. */
export function suspensionRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, suspendOperation, async (c) => {
    const act = operatorAct(c);
    if (act === null) return operatorRefused(c, 'organization_unknown');
    const made = await suspendOrganization(pool, act);
    if (made.outcome !== 'suspended') return operatorRefused(c, made.outcome);
    const { organizationId } = act;
    return c.json({ organizationId, suspendedSince: made.suspendedSince.toISOString() } satisfies Suspension);
  });

  mount(routes, authentication, resumeOperation, async (c) => {
    const act = operatorAct(c);
    if (act === null) return operatorRefused(c, 'organization_unknown');
    const made = await resumeOrganization(pool, act);
    if (made.outcome !== 'resumed') return operatorRefused(c, made.outcome);
    return c.json({ organizationId: act.organizationId, suspendedSince: null } satisfies Suspension);
  });

  return routes;
}
