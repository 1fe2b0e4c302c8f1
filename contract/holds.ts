import { z } from 'zod';
import { FEATURES, TOKEN_TYPES } from '../domain/catalog.ts';

export const HOLDS_PATH = '/api/v1/holds';

const tokenAmount = z.int().positive();
const LONGEST_LIFETIME_S = 86_400;

/**
 * What `POST /api/v1/holds` asks for. `tokens`: how many to set aside, at most; the feature's price when left out.
 * `lifetimeSeconds`: after that the hold lapses by itself; 15 minutes when left out, a day at most.
 */
export const holdRequest = z.strictObject({
  feature: z.enum(FEATURES),
  tokens: tokenAmount.optional(),
  lifetimeSeconds: z.int().positive().max(LONGEST_LIFETIME_S).default(900),
});
export type HoldRequest = z.infer<typeof holdRequest>;

/** The 201 answer. A repeat under the same key gets the same, whatever has become of the hold since. */
export const placedHold = z.strictObject({
  id: z.string(),
  feature: z.enum(FEATURES),
  tokenType: z.enum(TOKEN_TYPES),
  tokens: tokenAmount,
  expiresAt: z.iso.datetime({ offset: false }),
  links: z.strictObject({ capture: z.string(), release: z.string() }),
});
export type PlacedHold = z.infer<typeof placedHold>;

/** What `POST /api/v1/holds/{id}/capture` asks for: how many were used, at most what is held; all of it when left out. */
export const captureRequest = z.strictObject({ tokens: tokenAmount.optional() });

/** How a hold ended, and what went where. A repeat gets the recorded end. */
export const endedHold = z.strictObject({
  id: z.string(),
  state: z.enum(['captured', 'released', 'lapsed']),
  captured: z.int().nonnegative(),
  returned: z.int().nonnegative(),
});
export type EndedHold = z.infer<typeof endedHold>;
