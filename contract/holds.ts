import { z } from 'zod';
import { FEATURES, TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';
import { pageQuery } from './page.ts';

export const HOLDS_PATH = '/api/v1/holds';

const tokenAmount = z.int().positive();
const count = z.int().nonnegative();
const instant = z.iso.datetime({ offset: false });
const LONGEST_LIFETIME_S = 86_400;
const lifetimeSeconds = z.int().positive().max(LONGEST_LIFETIME_S);

/**
 * Of an array's row, where one object has its Idempotency-Key header; a row's `key` and a header of the same words are the
 * same key.
 */
const key = z.string().regex(/^[\x20-\x7e]{1,255}$/, 'must be 1 to 255 printable ASCII characters');
/** Of an array's row, where one object has it in its address. Any text: what is no hold is not found. */
const id = z.string().min(1).max(100);

/**
 * What `POST /api/v1/holds` asks for. `tokens`: how many to set aside, at most; the feature's price when left out.
 * `lifetimeSeconds`: after that the hold lapses by itself; 15 minutes when left out, a day at most.
 */
export const holdRequest = z
  .strictObject({
    feature: z.enum(FEATURES),
    tokens: tokenAmount.optional(),
    lifetimeSeconds: lifetimeSeconds.default(900),
  })
  .meta({ id: 'HoldRequest' });
export type HoldRequest = z.infer<typeof holdRequest>;
export const holdRow = holdRequest.extend({ key });

const holdLinks = z.strictObject({
  self: z.string(),
  capture: z.string(),
  release: z.string(),
  extend: z.string(),
  grow: z.string(),
});

/**
 * The 201 answer. A repeat under the same key gets the same, whatever has become of the hold since; only `expiresAt` is the
 * hold's own, and later once it was extended. In an array: with its row's `key`, and `replayed` where it is a repeat's.
 */
export const placedHold = z
  .strictObject({
    id: z.string(),
    feature: z.enum(FEATURES),
    tokenType: z.enum(TOKEN_TYPES),
    tokens: tokenAmount,
    expiresAt: instant,
    links: holdLinks,
  })
  .meta({ id: 'PlacedHold' });
export type PlacedHold = z.infer<typeof placedHold>;
export const placedHoldRow = placedHold.extend({ key, replayed: z.literal(true).optional() });

/**
 * What `POST /api/v1/holds/{id}/capture` asks for: how many were used, all that is open when left out. With `isLast` false
 * the hold stays open for more, and the charge needs a key; else the hold ends, and the rest returns.
 */
export const captureRequest = z
  .strictObject({ tokens: tokenAmount.optional(), isLast: z.boolean().default(true) })
  .meta({ id: 'CaptureRequest' });
export type CaptureRequest = z.infer<typeof captureRequest>;
export const captureRow = captureRequest
  .extend({ id, key: key.optional() })
  .refine((row) => row.key === undefined || !row.isLast, {
    path: ['key'],
    message: 'goes with isLast false: a last capture is known by its hold',
  })
  .refine((row) => row.key !== undefined || row.isLast, { path: ['key'], message: 'is needed where isLast is false' });

export const releaseRow = z.strictObject({ id });

/**
 * What a capture or a release did: what it charged, and what returned. `chargeId` names the charge to refund; null: none.
 * `state` is what it left: `held` after a part. A repeat gets the recorded one; `capturedInAll` is what all charges of the
 * hold come to by now.
 */
export const endedHold = z
  .strictObject({
    id: z.string(),
    state: z.enum(['held', 'captured', 'released', 'lapsed']),
    captured: count,
    returned: count,
    chargeId: z.nullable(z.string()),
    capturedInAll: count,
    links: z.strictObject({ self: z.string(), refund: z.string().optional() }),
  })
  .meta({ id: 'EndedHold' });
export type EndedHold = z.infer<typeof endedHold>;
export const endedHoldRow = endedHold.extend({ replayed: z.literal(true).optional() }).meta({ id: 'EndedHoldRow' });

/** What `POST /api/v1/holds/{id}/extend` asks for: to live so long from now, at least; a day at most. Repeat it as you like. */
export const extensionRequest = z.strictObject({ lifetimeSeconds }).meta({ id: 'ExtensionRequest' });
export type ExtensionRequest = z.infer<typeof extensionRequest>;
export const extensionRow = extensionRequest.extend({ id });

export const extendedHold = z
  .strictObject({ id: z.string(), state: z.literal('held'), expiresAt: instant })
  .meta({ id: 'ExtendedHold' });
export type ExtendedHold = z.infer<typeof extendedHold>;

/** What `POST /api/v1/holds/{id}/grow` asks for: so many more tokens, set aside under a key. */
export const growthRequest = z.strictObject({ tokens: tokenAmount }).meta({ id: 'GrowthRequest' });
export type GrowthRequest = z.infer<typeof growthRequest>;
export const growthRow = growthRequest.extend({ id, key });

/** `tokens`: all that the hold ever set aside. `available`: what this growth left. */
export const grownHold = z
  .strictObject({
    id: z.string(),
    state: z.literal('held'),
    tokens: tokenAmount,
    available: count,
  })
  .meta({ id: 'GrownHold' });
export type GrownHold = z.infer<typeof grownHold>;
export const grownHoldRow = grownHold.extend({ key, replayed: z.literal(true).optional() });

export const HOLD_STATES = ['held', 'captured', 'released', 'lapsed'] as const;

/**
 * A hold as it stands now. `tokens`: all that it ever set aside; `captured`: what its charges come to; `open`: what is
 * still set aside. `jobId`: of the job that it belongs to, which ends it itself; null: an app's own.
 */
export const hold = z
  .strictObject({
    id: z.string(),
    state: z.enum(HOLD_STATES),
    feature: z.string(),
    tokenType: z.string(),
    tokens: tokenAmount,
    captured: count,
    open: count,
    jobId: z.nullable(z.string()),
    createdAt: instant,
    expiresAt: instant,
    endedAt: z.nullable(instant),
    charges: z.array(
      z.strictObject({
        chargeId: z.string(),
        tokens: tokenAmount,
        refunded: count,
        links: z.strictObject({ refund: z.string() }),
      }),
    ),
    links: z.strictObject({ self: z.string() }),
  })
  .meta({ id: 'Hold' });
export type Hold = z.infer<typeof hold>;

/** Those that expire last first. A cursor belongs to the list that gave it: the same organization, `state` and `feature`. */
export const holdListQuery = z.strictObject({
  state: z.enum(HOLD_STATES).optional(),
  feature: z.enum(FEATURES).optional(),
  ...pageQuery({ most: 100, usual: 20 }),
});

/**
 * `nextCursor` is null on the last page, and on that alone: a page that is narrowed to what few holds are can be short, or
 * empty, and more may follow.
 */
export const holdList = z
  .strictObject({ holds: z.array(hold), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'HoldList' });
export type HoldList = z.infer<typeof holdList>;

const mayRead = { role: 'member', scopes: ['tokens:read'], operators: false } as const;
const mayWrite = { role: 'member', scopes: ['tokens:write'], operators: false } as const;
const admission = [
  'feature_unknown',
  'tokens_insufficient',
  'feature_not_available',
  'limit_reached',
  'organization_suspended',
  'too_many_holds',
  'ledger_busy',
] as const;

export const placeHold = operation({
  id: 'placeHold',
  method: 'post',
  path: HOLDS_PATH,
  tag: 'Holds',
  summary: 'Set tokens aside',
  description: 'Then work, and capture what it used or release. A hold that is forgotten lapses by itself.',
  access: mayWrite,
  idempotencyKey: 'required',
  body: { schema: holdRequest, rows: holdRow },
  answers: {
    200: { description: 'An array: row by row.', rowSchema: placedHoldRow },
    201: { description: 'Held.', schema: placedHold, headers: ['Idempotent-Replayed'] },
  },
  problems: admission,
  examples: [
    { title: 'For ten minutes', body: { feature: 'generate_goal', tokens: 3, lifetimeSeconds: 600 }, status: 201 },
    {
      title: 'Two at once',
      body: [
        { key: 'first', feature: 'generate_goal' },
        { key: 'second', feature: 'generate_insight' },
      ],
      status: 200,
    },
  ],
});

export const listHolds = operation({
  id: 'listHolds',
  method: 'get',
  path: HOLDS_PATH,
  tag: 'Holds',
  summary: 'Holds, those that expire last first',
  access: mayRead,
  query: holdListQuery,
  answers: { 200: { description: 'A page.', schema: holdList } },
  problems: [],
  examples: [{ title: 'Those that are open', query: { state: 'held', limit: '10' }, status: 200 }],
});

export const getHold = operation({
  id: 'getHold',
  method: 'get',
  path: `${HOLDS_PATH}/{holdId}`,
  tag: 'Holds',
  summary: 'A hold with its charges',
  access: mayRead,
  answers: { 200: { description: 'As it stands now.', schema: hold } },
  problems: ['hold_not_found'],
  examples: [{ title: 'One', params: { holdId: 'key_3bWkUc' }, status: 200 }],
});

const step = {
  method: 'post',
  tag: 'Holds',
  access: mayWrite,
} as const;
const refusals = ['hold_not_found', 'hold_already_ended', 'ledger_busy'] as const;
const byRow = 'Row by row, up to 1,000; one bad row never fails the others.';

export const captureHold = operation({
  ...step,
  id: 'captureHold',
  path: `${HOLDS_PATH}/{holdId}/capture`,
  summary: 'Charge what was used, all at once or in parts',
  idempotencyKey: 'optional',
  body: { schema: captureRequest },
  answers: { 200: { description: 'Charged.', schema: endedHold, headers: ['Idempotent-Replayed'] } },
  problems: [...refusals, 'idempotency_key_missing', 'amount_above_hold', 'tokens_insufficient', 'limit_reached'],
  examples: [
    {
      title: 'Two of three tokens; the rest returns',
      params: { holdId: 'key_3bWkUc' },
      body: { tokens: 2 },
      status: 200,
    },
  ],
});

export const captureHolds = operation({
  ...step,
  id: 'captureHolds',
  path: `${HOLDS_PATH}/capture`,
  summary: 'Charge many holds',
  description: byRow,
  body: { schema: captureRow, rows: captureRow },
  answers: { 200: { description: 'Row by row.', rowSchema: endedHoldRow } },
  problems: ['ledger_busy'],
  examples: [
    { title: 'One row', body: [{ id: 'key_3bWkUc', tokens: 2 }], params: { holdId: 'key_3bWkUc' }, status: 200 },
  ],
});

export const releaseHold = operation({
  ...step,
  id: 'releaseHold',
  path: `${HOLDS_PATH}/{holdId}/release`,
  summary: 'Give a hold back',
  answers: { 200: { description: 'Given back.', schema: endedHold, headers: ['Idempotent-Replayed'] } },
  problems: refusals,
  examples: [{ title: 'Release', params: { holdId: 'key_3bWkUc' }, status: 200 }],
});

export const releaseHolds = operation({
  ...step,
  id: 'releaseHolds',
  path: `${HOLDS_PATH}/release`,
  summary: 'Give many holds back',
  description: byRow,
  body: { schema: releaseRow, rows: releaseRow },
  answers: { 200: { description: 'Row by row.', rowSchema: endedHoldRow } },
  problems: ['ledger_busy'],
  examples: [{ title: 'One row', body: [{ id: 'key_3bWkUc' }], params: { holdId: 'key_3bWkUc' }, status: 200 }],
});

export const extendHold = operation({
  ...step,
  id: 'extendHold',
  path: `${HOLDS_PATH}/{holdId}/extend`,
  summary: 'Let a hold live on',
  body: { schema: extensionRequest },
  answers: { 200: { description: 'Extended.', schema: extendedHold } },
  problems: refusals,
  examples: [
    { title: 'Ten minutes from now', params: { holdId: 'key_3bWkUc' }, body: { lifetimeSeconds: 600 }, status: 200 },
  ],
});

export const extendHolds = operation({
  ...step,
  id: 'extendHolds',
  path: `${HOLDS_PATH}/extend`,
  summary: 'Let many holds live on',
  description: byRow,
  body: { schema: extensionRow, rows: extensionRow },
  answers: { 200: { description: 'Row by row.', rowSchema: extendedHold } },
  problems: ['ledger_busy'],
  examples: [
    {
      title: 'One row',
      body: [{ id: 'key_3bWkUc', lifetimeSeconds: 600 }],
      params: { holdId: 'key_3bWkUc' },
      status: 200,
    },
  ],
});

export const growHold = operation({
  ...step,
  id: 'growHold',
  path: `${HOLDS_PATH}/{holdId}/grow`,
  summary: 'Set more tokens aside under the same hold',
  idempotencyKey: 'required',
  body: { schema: growthRequest },
  answers: { 200: { description: 'Grown.', schema: grownHold, headers: ['Idempotent-Replayed'] } },
  problems: [...refusals, 'tokens_insufficient', 'feature_not_available', 'limit_reached', 'organization_suspended'],
  examples: [{ title: 'Two more', params: { holdId: 'key_3bWkUc' }, body: { tokens: 2 }, status: 200 }],
});

export const growHolds = operation({
  ...step,
  id: 'growHolds',
  path: `${HOLDS_PATH}/grow`,
  summary: 'Set more tokens aside under many holds',
  description: byRow,
  body: { schema: growthRow, rows: growthRow },
  answers: { 200: { description: 'Row by row.', rowSchema: grownHoldRow } },
  problems: ['ledger_busy'],
  examples: [
    {
      title: 'One row',
      body: [{ id: 'key_3bWkUc', key: 'more', tokens: 2 }],
      params: { holdId: 'key_3bWkUc' },
      status: 200,
    },
  ],
});
