import { Hono } from 'hono';
import {
  changeSettings as changeOperation,
  getSettings,
  type Settings,
  settingsChange,
} from '../../contract/settings.ts';
import { changeSettings, settingsOf } from '../../db/settings.ts';
import { actOf, lostRight } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

/** How an organization wants it. */
export function settingRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();

  mount(routes, authentication, getSettings, async (c) => {
    return c.json((await settingsOf(pool, c.get('organizationId'))) satisfies Settings);
  });

  mount(routes, authentication, changeOperation, jsonBody, async (c) => {
    const parsed = settingsChange.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const changed = await changeSettings(pool, actOf(c), c.get('organizationId'), parsed.data);
    switch (changed.outcome) {
      case 'changed':
        return c.json(changed.settings satisfies Settings);
      case 'not_an_admin':
        return problemReply(c, lostRight(c));
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
    }
  });

  return routes;
}
