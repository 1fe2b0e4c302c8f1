import { Hono } from 'hono';
import {
  auditQuery,
  listAuditLog,
  listOrganizationAuditLog,
  type OrganizationAuditQuery,
  organizationAuditQuery,
} from '../../contract/auditLog.ts';
import { type AuditEntry, type AuditFilter, actsOnOrganization, listActs } from '../../db/auditLog.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { type ListOf, pageOf, readCursor, refuseCursor, writeCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';

/** Who did what: everywhere for operators, in its own organization for its admins. */
export function auditRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, listAuditLog, async (c) => {
    const query = auditQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const organizationId = query.data.organizationId ?? null;
    return replyWithPage(c, query.data, ['everywhere', organizationId ?? undefined], (page) =>
      listActs(pool, principalOf(c.get('caller')), { ...page, organizationId }),
    );
  });

  mount(routes, authentication, listOrganizationAuditLog, async (c) => {
    const query = organizationAuditQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const organizationId = c.get('organizationId');
    const isForOperator = c.get('caller').kind === 'operator';
    return replyWithPage(c, query.data, [organizationId], (page) =>
      actsOnOrganization(pool, { ...page, organizationId, isForOperator }),
    );
  });

  return routes;
}

async function replyWithPage(
  c: ApiContext,
  { limit, cursor, actor, act, from, to }: OrganizationAuditQuery,
  of: ListOf,
  read: (page: Omit<AuditFilter, 'organizationId'>) => Promise<AuditEntry[]>,
): Promise<Response> {
  const list = ['audit', ...of, actor, act, from, to];
  const [last = ''] = cursor === undefined ? [] : (readCursor(list, cursor, 1) ?? []);
  if (cursor !== undefined && !/^[1-9]\d{0,15}$/.test(last)) return refuseCursor(c);

  const found = await read({
    ...{ actor: actor ?? null, act: act ?? null, from: from ?? null, to: to ?? null },
    before: last === '' ? null : Number(last),
    limit: limit + 1,
  });
  const { page: entries, nextCursor } = pageOf(found, limit, ({ id }) => writeCursor(list, [`${id}`]));
  return c.json({ entries, nextCursor });
}
