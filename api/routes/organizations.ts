import { createHash } from 'node:crypto';
import { Hono } from 'hono';
import {
  createOrganization as createOperation,
  getOrganization,
  listOrganizations as listOperation,
  ORGANIZATIONS_PATH,
  organizationChange,
  organizationLinks,
  organizationListQuery,
  organizationRequest,
  renameOrganization as renameOperation,
  writeOrganization,
} from '../../contract/organizations.ts';
import { createOrganization, findOrganization, listOrganizations, renameOrganization } from '../../db/organizations.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import { actOf, lostRight } from '../actOf.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { pageOf, readCursor, refuseCursor, writeCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { idempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';
import { requestHash } from '../requestHash.ts';

/** Organizations: made and listed by operators, read and renamed by their own people. */
export function organizationRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, createOperation, idempotencyKey, jsonBody, async (c) => {
    const body = c.get('body');
    const parsed = organizationRequest.safeParse(body);
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const { id, name, plan, mode, timeZone } = parsed.data;
    const act = actOf(c);
    const key = c.get('idempotencyKey')!;

    const creation = await createOrganization(pool, {
      ...act,
      ...{ organizationId: id ?? idOf(act.actor, key), name, plan, mode, timeZone },
      idempotency: { key, requestHash: requestHash(`POST ${ORGANIZATIONS_PATH}`, body) },
    });
    switch (creation.outcome) {
      case 'created': {
        const { answer, isRepeat } = creation;
        c.header('Location', organizationLinks(answer.id).self);
        if (isRepeat) c.header('Idempotent-Replayed', 'true');
        return c.json(
          writeOrganization({ ...answer, createdAt: new Date(answer.createdAt), suspendedSince: null }),
          201,
        );
      }
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
      case 'key_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'plan_unknown':
        return problemReply(c, 'invalid_request', {
          errors: [{ path: 'plan', message: 'The catalogue in force has no such plan.' }],
        });
      case 'time_zone_unknown':
        return problemReply(c, 'invalid_request', {
          errors: [{ path: 'timeZone', message: 'The database knows no such time zone.' }],
        });
      case 'organization_exists':
      case 'app_table_refused':
        return problemReply(c, creation.outcome);
    }
  });

  mount(routes, authentication, listOperation, async (c) => {
    const query = organizationListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor, search } = query.data;
    const list = ['organizations', search];
    const [after = null] = cursor === undefined ? [] : (readCursor(list, cursor, 1) ?? []);
    if (cursor !== undefined && (after === null || !ID_PATTERN.test(after))) return refuseCursor(c);

    const actor = principalOf(c.get('caller'));
    const found = await listOrganizations(pool, { actor, search: search ?? null, after, limit: limit + 1 });
    const { page, nextCursor } = pageOf(found, limit, ({ id }) => writeCursor(list, [id]));
    return c.json({
      organizations: page.map(writeOrganization),
      nextCursor,
    });
  });

  const present = async (c: ApiContext) => {
    const found = await findOrganization(pool, c.get('organizationId'));
    return found === null ? problemReply(c, 'organization_not_found') : c.json(writeOrganization(found));
  };
  mount(routes, authentication, getOrganization, present);

  mount(routes, authentication, renameOperation, jsonBody, async (c) => {
    const parsed = organizationChange.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const organizationId = c.get('organizationId');
    const outcome = await renameOrganization(pool, { ...actOf(c), organizationId, name: parsed.data.name });
    switch (outcome) {
      case 'renamed':
        return present(c);
      case 'not_an_admin':
        return problemReply(c, lostRight(c));
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
      case 'app_table_refused':
        return problemReply(c, outcome);
    }
  });

  return routes;
}

/** Follows from who asks and his key, so that a repeat never makes a second one, however long ago the first was made. */
function idOf(actor: string, key: string): string {
  return `org_${createHash('sha256').update(`${actor}\n${key}`).digest('base64url').slice(0, 22)}`;
}
