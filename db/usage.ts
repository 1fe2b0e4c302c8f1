import type { Pool } from 'pg';
import { isoInstant } from './isoInstant.ts';
import { readAs } from './tenant.ts';

/** What narrows usage; undefined: any. `user` and `key` are ids. */
export interface UsageFilters {
  feature?: string | undefined;
  tokenType?: string | undefined;
  user?: string | undefined;
  key?: string | undefined;
}

/** `tokens`: charged less given back. `count`: of charges. */
export interface UsageSums {
  tokens: number;
  refunded: number;
  count: number;
}

export interface UsageSeries {
  timeZone: string;
  /** Every bucket for every group, by time, then by group. Instants are ISO 8601 with microseconds. */
  buckets: ({ startsAt: string; group: string | null } & UsageSums)[];
  totals: UsageSums;
}

export interface SeriesRequest extends UsageFilters {
  organizationId: string;
  by?: 'feature' | 'tokenType' | 'user' | 'key' | undefined;
  interval: 'hour' | 'day' | 'month';
  /** Undefined: the organization's own. */
  timeZone?: string | undefined;
  /** ISO 8601; `to` is exclusive. */
  from: string;
  to: string;
  mostBuckets: number;
  mostGroups: number;
}

/**
 * What was used in each bucket. Asks for no row of the log where there would be too many buckets. See
 * migrations/functions/usage_series.sql.
 */
export function usageSeries(
  pool: Pool,
  request: SeriesRequest,
): Promise<UsageSeries | 'zone_unknown' | 'nothing_between' | 'too_many_buckets' | 'too_many_groups'> {
  const { organizationId, by, interval, from, to, mostBuckets, mostGroups } = request;
  return readAs(pool, [organizationId], async (client) => {
    const cut = await client
      .query(
        `select z.time_zone as "timeZone",
                array(select ${isoInstant('u.at')} from unnest(b.starts) with ordinality as u (at, position) order by u.position) as starts
           from (select coalesce($2, (select c.time_zone from tollgate.billing_cycles c where c.organization_id = $1), 'UTC') as time_zone) z
          cross join lateral (select tollgate.usage_buckets($3, $4, $5, z.time_zone, $6) as starts) b`,
        [organizationId, request.timeZone ?? null, from, to, interval, mostBuckets],
      )
      .catch(unlessZoneIsUnknown);
    if (cut === 'zone_unknown') return cut;
    const { timeZone, starts }: { timeZone: string; starts: string[] } = cut.rows[0];
    if (starts.length === 0) return 'nothing_between';
    if (starts.length > mostBuckets) return 'too_many_buckets';

    const { rows } = await client.query<{ bucket: number; group: string | null } & UsageSums>(
      `select s.bucket, s.grouped_by as "group", s.tokens, s.refunded, s.charges as count
         from tollgate.usage_series($1, $2, $3, $4, $5, $6, $7, $8, $9) s`,
      [organizationId, from, to, starts, by ?? null, ...filterValues(request)],
    );
    const groups = by === undefined ? [null] : [...new Set(rows.map(({ group }) => group))].sort(byName);
    if (groups.length > mostGroups) return 'too_many_groups';
    const found = new Map(rows.map(({ bucket, group, ...sums }) => [JSON.stringify([bucket, group]), sums]));
    return {
      timeZone,
      buckets: starts.flatMap((startsAt, index) =>
        groups.map((group) => ({ startsAt, group, ...(found.get(JSON.stringify([index + 1, group])) ?? NOTHING) })),
      ),
      totals: rows.reduce(
        (sum, { tokens, refunded, count }) => ({
          tokens: sum.tokens + tokens,
          refunded: sum.refunded + refunded,
          count: sum.count + count,
        }),
        NOTHING,
      ),
    };
  });
}

const NOTHING: UsageSums = { tokens: 0, refunded: 0, count: 0 };

/** What belongs to nobody comes last. */
function byName(one: string | null, other: string | null): number {
  if (one === null || other === null) return Number(one === null) - Number(other === null);
  return one < other ? -1 : Number(one > other);
}

/** A zone that this program knows and PostgreSQL does not: their lists are of different years. */
function unlessZoneIsUnknown(error: Error & { code?: string }): 'zone_unknown' {
  if (error.code === '22023') return 'zone_unknown';
  throw error;
}

/** A line of the usage log. `at` is ISO 8601 with microseconds; negative `tokens` were given back. */
export interface UsageLine {
  id: number;
  at: string;
  feature: string;
  tokenType: string;
  tokens: number;
  user: string | null;
  key: string | null;
  chargeId: string;
  /** Null for a debt, which no hold covered. */
  holdId: string | null;
  jobId: string | null;
  metadata: unknown;
}

export interface UsageLogRequest extends UsageFilters {
  organizationId: string;
  order: 'newest' | 'oldest';
  from?: string | undefined;
  to?: string | undefined;
  /** The line that the page before ended with; null: the first page. */
  after: { at: string; id: number } | null;
  limit: number;
}

/** Up to `limit` lines in this order. See migrations/functions/list_usage.sql. */
export function usageLines(pool: Pool, request: UsageLogRequest): Promise<UsageLine[]> {
  const { organizationId, order, from, to, after, limit } = request;
  const direction = order === 'newest' ? 'desc' : 'asc';
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query<UsageLine>(
      `select l.id, ${isoInstant('l.created_at')} as at, l.feature_used as feature, l.token_type as "tokenType", l.tokens_deducted as tokens,
              l.user_id as user, substring(l.principal from '^key:(.*)$') as key, l.charge_id as "chargeId", c.hold_id as "holdId",
              -- Of the hold, not of the metadata, which is the app's own.
              coalesce((select h.job_id from tollgate.holds h where h.organization_id = l.organization_id and h.id = c.hold_id),
                       substring(l.charge_id from '^debt:(.*)$')) as "jobId", l.metadata
         from tollgate.list_usage($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) l
        cross join lateral (select substring(l.charge_id from '^(.*)[.][0-9]+$') as hold_id) c
        order by l.created_at ${direction}, l.id ${direction}`,
      [
        organizationId,
        order === 'newest',
        ...[from ?? null, to ?? null, after?.at ?? null, after?.id ?? null],
        ...filterValues(request),
        limit,
      ],
    );
    return rows;
  });
}

export interface UsageSources {
  usageId: number;
  chargeId: string;
  tokenType: string;
  tokens: number;
  sources: {
    grantId: number;
    source: string;
    priority: number;
    isPaid: boolean;
    unitPriceMicros: number | null;
    currency: string | null;
    expiresAt: string | null;
    tokens: number;
  }[];
}

/** Which grants paid for a line of the usage log; null: the organization has no such line. */
export function usageSources(pool: Pool, organizationId: string, usageId: number): Promise<UsageSources | null> {
  return readAs(pool, [organizationId], async (client) => {
    const line = await client.query(
      `select l.id as "usageId", l.charge_id as "chargeId", l.token_type as "tokenType", l.tokens_deducted as tokens
         from public.ai_token_usage_log l
        where l.id = $2 and l.organization_id = $1`,
      [organizationId, usageId],
    );
    if (line.rows.length === 0) return null;
    const { rows } = await client.query(
      `select s.grant_id as "grantId", s.source, s.priority, s.is_paid as "isPaid", s.unit_price_micros as "unitPriceMicros", s.currency,
              ${isoInstant('s.expires_at')} as "expiresAt", s.tokens
         from tollgate.usage_sources s
        where s.usage_id = $2 and s.organization_id = $1
        order by s.grant_id`,
      [organizationId, usageId],
    );
    return { ...line.rows[0], sources: rows.map((row) => ({ ...row, tokens: Number(row.tokens) })) };
  });
}

function filterValues({ feature, tokenType, user, key }: UsageFilters): (string | null)[] {
  return [feature ?? null, tokenType ?? null, user ?? null, key ?? null];
}
