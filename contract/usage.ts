import { z } from 'zod';
import { FEATURES, TOKEN_TYPES } from '../domain/catalog.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { askedInstant } from './askedInstant.ts';
import { EXPORT_FORMATS } from './ledger.ts';
import { operation } from './operation.ts';
import { pageQuery } from './page.ts';

export const USAGE_PATH = '/api/v1/usage';

/** What an answer may hold at most. More is refused with what to narrow. */
export const MOST_BUCKETS = 1_000;
export const MOST_GROUPS = 50;

const instant = z.iso.datetime({ offset: false });

/**
 * By its place: short names are abbreviations to PostgreSQL, of another meaning than IANA's (CET keeps no summer time there), and
 * signs are turned round (+02:00 lies west of Greenwich).
 */
const timeZone = z
  .string()
  .max(64)
  .refine(
    (name) => (name === 'UTC' || /^[A-Za-z]+(?:\/[A-Za-z0-9_+-]+)+$/.test(name)) && isKnownZone(name),
    'must be a time zone of IANA by its place, for example Europe/Berlin, or UTC',
  );

/** Every one that is set must fit. `user` is a signed-in user's id, `key` an API key's. */
const filters = {
  feature: z.enum(FEATURES).optional(),
  tokenType: z.enum(TOKEN_TYPES).optional(),
  user: z
    .string()
    .min(1)
    .max(255)
    .refine((id) => !id.includes('\0'), 'must hold no NUL')
    .optional(),
  key: z.string().regex(ID_PATTERN, 'must be the id of an API key').optional(),
};

export const GROUPINGS = ['feature', 'tokenType', 'user', 'key'] as const;
export type Grouping = (typeof GROUPINGS)[number];
export const USAGE_INTERVALS = ['hour', 'day', 'month'] as const;
export type UsageInterval = (typeof USAGE_INTERVALS)[number];

/** `to` is exclusive. `timeZone`: whose hours, days and months; the organization's own unless it is named. */
export const usageQuery = z.strictObject({
  by: z.enum(GROUPINGS).optional(),
  interval: z.enum(USAGE_INTERVALS),
  timeZone: timeZone.optional(),
  from: askedInstant,
  to: askedInstant,
  ...filters,
  format: z.enum(['json', 'csv']).default('json'),
});

const sums = {
  /** Charged less given back: negative where more came back than was charged. */
  tokens: z.int(),
  /** Given back. `tokens + refunded` was charged. */
  refunded: z.int().nonnegative(),
  /** How many charges. */
  count: z.int().nonnegative(),
};

/**
 * Every bucket for every group, zeros included, in the order of time and then of the group's name. The first bucket begins at
 * `from`, and each ends where the next begins, the last at `to`. `group` is null where `by` is not set, and for what no user, or
 * no key, was charged for. A refund counts when it was made.
 */
export const usageSeries = z
  .strictObject({
    from: instant,
    to: instant,
    interval: z.enum(USAGE_INTERVALS),
    timeZone: z.string(),
    buckets: z.array(z.strictObject({ startsAt: instant, group: z.nullable(z.string()), ...sums })),
    totals: z.strictObject(sums),
  })
  .meta({ id: 'UsageSeries' });
export type UsageSeries = z.infer<typeof usageSeries>;

/**
 * One line of the usage log: a charge, or, with negative `tokens`, what was given back of one. `chargeId` names the charge in
 * both; `holdId` is null for delivered work that the balance did not cover.
 */
export const usageLine = z
  .strictObject({
    id: z.int().positive(),
    at: instant,
    feature: z.string(),
    tokenType: z.string(),
    tokens: z.int(),
    user: z.nullable(z.string()),
    key: z.nullable(z.string()),
    chargeId: z.string(),
    holdId: z.nullable(z.string()),
    jobId: z.nullable(z.string()),
    metadata: z.unknown(),
  })
  .meta({ id: 'UsageLine' });
export type UsageLine = z.infer<typeof usageLine>;

/** `nextCursor` is null on the last page. */
export const usagePage = z
  .strictObject({ lines: z.array(usageLine), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'UsagePage' });
export type UsagePage = z.infer<typeof usagePage>;

/** A cursor belongs to the list that gave it: the same organization, order, times and filters. */
export const usageLogQuery = z.strictObject({
  ...pageQuery({ most: 1_000, usual: 100 }),
  order: z.enum(['newest', 'oldest']).default('newest'),
  from: askedInstant.optional(),
  to: askedInstant.optional(),
  ...filters,
});

export const usageExportQuery = z.strictObject({
  format: z.enum(EXPORT_FORMATS),
  from: askedInstant.optional(),
  to: askedInstant.optional(),
  ...filters,
});

/** Where a line's tokens came from, or, negative, where they went back to. Prices are millionths of the currency's unit for one token. */
export const usageSource = z
  .strictObject({
    grantId: z.int(),
    source: z.string(),
    priority: z.int(),
    isPaid: z.boolean(),
    unitPriceMicros: z.nullable(z.int()),
    currency: z.nullable(z.string()),
    expiresAt: z.nullable(instant),
    tokens: z.int(),
  })
  .meta({ id: 'UsageSource' });

/** They add up to the line's `tokens`; a debt has none: no grant paid for it when it was charged. */
export const usageSourceList = z
  .strictObject({
    usageId: z.int(),
    chargeId: z.string(),
    tokenType: z.string(),
    tokens: z.int(),
    sources: z.array(usageSource),
  })
  .meta({ id: 'UsageSourceList' });
export type UsageSourceList = z.infer<typeof usageSourceList>;

const read = { role: 'member', scopes: ['tokens:read'], operators: false } as const;

export const getUsage = operation({
  id: 'getUsage',
  method: 'get',
  path: USAGE_PATH,
  tag: 'Usage',
  summary: 'What was used, hour by hour, day by day or month by month',
  description: `Zeros included. At most ${MOST_BUCKETS} buckets and ${MOST_GROUPS} groups.`,
  access: read,
  query: usageQuery,
  answers: { 200: { description: 'A series, as JSON or as CSV.', schema: usageSeries, mediaTypes: ['text/csv'] } },
  problems: [],
  examples: [
    {
      title: 'A week by feature',
      query: { by: 'feature', interval: 'day', from: '2026-01-05T00:00:00Z', to: '2026-01-12T00:00:00Z' },
      status: 200,
    },
    {
      title: 'A year as CSV, in the months of Berlin',
      query: {
        interval: 'month',
        timeZone: 'Europe/Berlin',
        from: '2025-12-31T23:00:00Z',
        to: '2026-12-31T23:00:00Z',
        format: 'csv',
      },
      status: 200,
    },
  ],
});

export const listUsage = operation({
  id: 'listUsage',
  method: 'get',
  path: `${USAGE_PATH}/log`,
  tag: 'Usage',
  summary: 'The usage log, line by line',
  access: read,
  query: usageLogQuery,
  answers: { 200: { description: 'A page.', schema: usagePage } },
  problems: [],
  examples: [{ title: 'The newest ten of a feature', query: { feature: 'generate_goal', limit: '10' }, status: 200 }],
});

export const exportUsage = operation({
  id: 'exportUsage',
  method: 'get',
  path: `${USAGE_PATH}/log/export`,
  tag: 'Usage',
  summary: 'The usage log as a file',
  access: read,
  query: usageExportQuery,
  answers: { 200: { description: 'Streamed, oldest line first.', mediaTypes: ['application/jsonl', 'text/csv'] } },
  problems: [],
  examples: [
    { title: 'As CSV', query: { format: 'csv' }, status: 200 },
    { title: 'A day as JSON Lines', query: { format: 'jsonl', from: '2026-01-05T00:00:00Z' }, status: 200 },
  ],
});

export const getUsageSources = operation({
  id: 'getUsageSources',
  method: 'get',
  path: `${USAGE_PATH}/{usageId}/sources`,
  tag: 'Usage',
  summary: 'Which grants paid for a line of the usage log',
  access: read,
  answers: { 200: { description: 'The grants.', schema: usageSourceList } },
  problems: ['usage_not_found'],
  examples: [{ title: 'Why these tokens', params: { usageId: '1' }, status: 200 }],
});

function isKnownZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en-US', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
