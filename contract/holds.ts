import { z } from 'zod';
import { FEATURES, TOKEN_TYPES } from '../domain/catalog.ts';
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
export const holdRequest = z.strictObject({
  feature: z.enum(FEATURES),
  tokens: tokenAmount.optional(),
  lifetimeSeconds: lifetimeSeconds.default(900),
});
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
export const placedHold = z.strictObject({
  id: z.string(),
  feature: z.enum(FEATURES),
  tokenType: z.enum(TOKEN_TYPES),
  tokens: tokenAmount,
  expiresAt: instant,
  links: holdLinks,
});
export type PlacedHold = z.infer<typeof placedHold>;
export const placedHoldRow = placedHold.extend({ key, replayed: z.literal(true).optional() });

/**
 * What `POST /api/v1/holds/{id}/capture` asks for: how many were used, all that is open when left out. With `isLast` false
 * the hold stays open for more, and the charge needs a key; else the hold ends, and the rest returns.
 */
export const captureRequest = z.strictObject({ tokens: tokenAmount.optional(), isLast: z.boolean().default(true) });
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
export const endedHold = z.strictObject({
  id: z.string(),
  state: z.enum(['held', 'captured', 'released', 'lapsed']),
  captured: count,
  returned: count,
  chargeId: z.nullable(z.string()),
  capturedInAll: count,
  links: z.strictObject({ self: z.string(), refund: z.string().optional() }),
});
export type EndedHold = z.infer<typeof endedHold>;
export const endedHoldRow = endedHold.extend({ replayed: z.literal(true).optional() });

/** What `POST /api/v1/holds/{id}/extend` asks for: to live so long from now, at least; a day at most. Repeat it as you like. */
export const extensionRequest = z.strictObject({ lifetimeSeconds });
export type ExtensionRequest = z.infer<typeof extensionRequest>;
export const extensionRow = extensionRequest.extend({ id });

export const extendedHold = z.strictObject({ id: z.string(), state: z.literal('held'), expiresAt: instant });
export type ExtendedHold = z.infer<typeof extendedHold>;

/** What `POST /api/v1/holds/{id}/grow` asks for: so many more tokens, set aside under a key. */
export const growthRequest = z.strictObject({ tokens: tokenAmount });
export type GrowthRequest = z.infer<typeof growthRequest>;
export const growthRow = growthRequest.extend({ id, key });

/** `tokens`: all that the hold ever set aside. `available`: what this growth left. */
export const grownHold = z.strictObject({
  id: z.string(),
  state: z.literal('held'),
  tokens: tokenAmount,
  available: count,
});
export type GrownHold = z.infer<typeof grownHold>;
export const grownHoldRow = grownHold.extend({ key, replayed: z.literal(true).optional() });

export const HOLD_STATES = ['held', 'captured', 'released', 'lapsed'] as const;

/**
 * A hold as it stands now. `tokens`: all that it ever set aside; `captured`: what its charges come to; `open`: what is
 * still set aside. `jobId`: of the job that it belongs to, which ends it itself; null: an app's own.
 */
export const hold = z.strictObject({
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
});
export type Hold = z.infer<typeof hold>;

/** Those that expire last first. A cursor belongs to the list that gave it: the same organization, `state` and `feature`. */
export const holdListQuery = z.strictObject({
  state: z.enum(HOLD_STATES).optional(),
  feature: z.enum(FEATURES).optional(),
  ...pageQuery({ most: 100, usual: 20 }),
});

/** `nextCursor` is null on the last page. */
export const holdList = z.strictObject({ holds: z.array(hold), nextCursor: z.nullable(z.string()) });
export type HoldList = z.infer<typeof holdList>;
