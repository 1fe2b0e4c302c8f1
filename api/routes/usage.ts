import { Hono } from 'hono';
import {
  exportUsage as exportOperation,
  getUsage,
  getUsageSources,
  listUsage,
  MOST_BUCKETS,
  MOST_GROUPS,
  type UsagePage,
  type UsageSeries,
  type UsageSourceList,
  usageExportQuery,
  usageLogQuery,
  usageQuery,
} from '../../contract/usage.ts';
import { usageLines, usageSeries, usageSources } from '../../db/usage.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { replyWithFile } from '../fileReply.ts';
import { pageOf, refuseCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiEnv } from '../requestContext.ts';
import { readUsageCursor, writeUsageCursor } from '../usageCursor.ts';
import { exportUsage, writeSeriesCsv } from '../usageExport.ts';

/** Who used what, and which tokens paid. Only acts of callers write the log, so nothing has to be settled before it is read. */
export function usageRoutes(authentication: Authentication) {
  const { pool, log } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, getUsage, async (c) => {
    const organizationId = c.get('organizationId');
    const query = usageQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { format, ...asked } = query.data;
    const bounds = { mostBuckets: MOST_BUCKETS, mostGroups: MOST_GROUPS };
    const series = await usageSeries(pool, { organizationId, ...asked, ...bounds });
    if (typeof series === 'string') return problemReply(c, 'invalid_request', { errors: [TOO_WIDE[series]] });
    if (format === 'csv') return replyWithFile(c, { pages: once(writeSeriesCsv(series)), format, name: 'usage', log });
    const { from, to, interval } = asked;
    return c.json({ from, to, interval, ...series } satisfies UsageSeries);
  });

  mount(routes, authentication, listUsage, async (c) => {
    const organizationId = c.get('organizationId');
    const query = usageLogQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor, ...asked } = query.data;
    const { order, from, to, feature, tokenType, user, key } = asked;
    const list = [organizationId, order, from, to, feature, tokenType, user, key];
    const after = cursor === undefined ? null : readUsageCursor(list, cursor);
    if (cursor !== undefined && after === null) return refuseCursor(c);
    const found = await usageLines(pool, { organizationId, ...asked, after, limit: limit + 1 });
    const { page: lines, nextCursor } = pageOf(found, limit, (last) => writeUsageCursor(list, last));
    return c.json({ lines, nextCursor } satisfies UsagePage);
  });

  mount(routes, authentication, exportOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const query = usageExportQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const pages = exportUsage(pool, { organizationId, ...query.data });
    return replyWithFile(c, { pages, format: query.data.format, name: `usage-log-${organizationId}`, log });
  });

  mount(routes, authentication, getUsageSources, async (c) => {
    const id = c.req.param('usageId')!;
    const found = USAGE_ID.test(id) ? await usageSources(pool, c.get('organizationId'), Number(id)) : null;
    return found === null ? problemReply(c, 'usage_not_found') : c.json(found satisfies UsageSourceList);
  });

  return routes;
}

const USAGE_ID = /^[1-9]\d{0,14}$/;

/** Why a series is refused, and what to change. */
const TOO_WIDE = {
  zone_unknown: { path: 'timeZone', message: 'is not known to the database' },
  nothing_between: { path: 'to', message: 'must lie after from' },
  too_many_buckets: {
    path: 'interval',
    message: `makes more than ${MOST_BUCKETS} buckets: take a longer interval, or less time between from and to`,
  },
  too_many_groups: {
    path: 'by',
    message: `makes more than ${MOST_GROUPS} groups: narrow it with feature, tokenType, user or key, or take less time between from and to`,
  },
} as const;

async function* once(text: string): AsyncGenerator<string> {
  yield text;
}
