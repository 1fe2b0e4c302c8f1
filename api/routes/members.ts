import { Hono } from 'hono';
import {
  listMembers as listOperation,
  memberListQuery,
  memberRequest,
  removeMember as removeOperation,
  setMember as setOperation,
  writeMember,
} from '../../contract/members.ts';
import { listMembers, removeMember, setMember } from '../../db/members.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import { actOf, lostRight } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { pageOf, readCursor, refuseCursor, writeCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiEnv } from '../requestContext.ts';

/** Who belongs to an organization, and as what. To invite somebody is the app's: here are ids of users that it knows. */
export function memberRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, listOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const query = memberListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor } = query.data;
    const list = [organizationId, 'members'];
    const [after = null] = cursor === undefined ? [] : (readCursor(list, cursor, 1) ?? []);
    if (cursor !== undefined && after === null) return refuseCursor(c);

    const found = await listMembers(pool, organizationId, { after, limit: limit + 1 });
    const { page, nextCursor } = pageOf(found, limit, ({ userId }) => writeCursor(list, [userId]));
    return c.json({
      members: page.map((member) => writeMember(organizationId, member)),
      nextCursor,
    });
  });

  mount(routes, authentication, setOperation, jsonBody, async (c) => {
    const organizationId = c.get('organizationId');
    const userId = c.req.param('userId')!;
    const parsed = memberRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    if (!ID_PATTERN.test(userId)) {
      return problemReply(c, 'invalid_request', {
        errors: [{ path: 'userId', message: 'must be 1 to 64 of the characters A-Z a-z 0-9 _ -' }],
      });
    }
    const { role } = parsed.data;
    const outcome = await setMember(pool, { ...actOf(c), organizationId, userId, role });
    switch (outcome) {
      case 'member_set':
        return c.json(writeMember(organizationId, { userId, role }));
      case 'not_an_admin':
        return problemReply(c, lostRight(c));
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
      case 'key_below_admin':
      case 'member_elsewhere':
      case 'last_admin':
      case 'app_table_refused':
        return problemReply(c, outcome);
    }
  });

  mount(routes, authentication, removeOperation, async (c) => {
    const userId = c.req.param('userId')!;
    if (!ID_PATTERN.test(userId)) return problemReply(c, 'member_not_found');
    const outcome = await removeMember(pool, { ...actOf(c), organizationId: c.get('organizationId'), userId });
    switch (outcome) {
      case 'removed':
        return c.body(null, 204);
      case 'not_an_admin':
        return problemReply(c, lostRight(c));
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
      case 'member_unknown':
        return problemReply(c, 'member_not_found');
      case 'last_admin':
      case 'app_table_refused':
        return problemReply(c, outcome);
    }
  });

  return routes;
}
