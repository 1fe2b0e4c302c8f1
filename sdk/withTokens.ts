import type { EndedHold, PlacedHold } from '../contract/holds.ts';
import type { Feature } from '../domain/catalog.ts';
import { newIdempotencyKey, request } from './connection.ts';

/** What the work is given: the tokens that are set aside for it, and how to say that it used fewer. */
export interface HeldTokens {
  readonly tokens: number;
  /** Charge this many instead of all, 0 for none; the rest goes back. */
  use(tokens: number): void;
}

/**
 * Sets tokens aside, does the work, then charges what it used. Work that throws is not charged: its tokens go back and its
 * error goes on. If this process dies in between, the hold lapses by itself after `lifetimeSeconds`.
 *
 * The idempotencyKey is for one run only: a second one under it is refused before the work, which it could not pay.
 * Throws TollgateError before the work is begun when the tokens cannot be had: `tokens_insufficient`,
 * `feature_not_available`, … When the charge cannot be made after the work, that is thrown too: the work was done.
 */
export async function withTokens<Result>(
  feature: Feature,
  work: (held: HeldTokens) => Promise<Result>,
  options: { tokens?: number; lifetimeSeconds?: number; idempotencyKey?: string } = {},
): Promise<Result> {
  const { idempotencyKey = newIdempotencyKey(), ...wishes } = options;
  const { answer: hold, isReplay } = await request<PlacedHold>('/api/v1/holds', {
    body: { feature, ...wishes },
    idempotencyKey,
  });
  // The hold may have ended since, or another process may be at the work: either way this work would not be paid.
  if (isReplay) throw new Error('withTokens has run under this idempotencyKey before. Use a new one for new work.');
  const end = (link: string, body: unknown) => request<EndedHold>(link, { body, idempotencyKey });
  let used = hold.tokens;
  let result: Result;
  try {
    result = await work({
      tokens: hold.tokens,
      use: (tokens) => {
        if (!Number.isInteger(tokens) || tokens < 0 || tokens > hold.tokens) {
          throw new RangeError(`use() takes a whole number from 0 to ${hold.tokens}, the tokens that are set aside.`);
        }
        used = tokens;
      },
    });
  } catch (error) {
    // The hold lapses by itself if this does not arrive; the work's own error is what matters.
    await end(hold.links.release, {}).catch(() => {});
    throw error;
  }
  await (used === 0 ? end(hold.links.release, {}) : end(hold.links.capture, { tokens: used }));
  return result;
}
