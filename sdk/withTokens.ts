import type { Feature } from '../domain/catalog.ts';
import { configuredTollgate } from './configured.ts';
import type { HeldTokens, HeldWorkOptions } from './heldWork.ts';

export type { HeldTokens, HeldWorkOptions };

/**
 * Sets tokens aside, does the work, then charges what it used. Work that throws, or whose `signal` is aborted, is not charged: its tokens go back
 * once it is over, and its error goes on. The hold is extended while the work runs; if this process dies in between, it lapses by itself after
 * `lifetimeSeconds`. Nested and parallel calls are calls of their own, each with its hold.
 *
 * The charge is made once, whatever happens to the answers. Work that was done although its hold had lapsed meanwhile is charged by a
 * deduction: delivered work is paid. It takes a new hold under a key that follows from the call's own and captures it at once; when that is refused,
 * for want of tokens perhaps, the error is thrown with `isAfterWork`: the work was done and is not paid.
 *
 * The idempotencyKey is for one run only: a second one under it is refused before the work, which it could not pay.
 * Throws TollgateError before the work is begun when the tokens cannot be had: `tokens_insufficient`, `feature_not_available`, …;
 * and when Tollgate cannot be reached, unless `whenUnreachable` says otherwise for the feature (outage.ts).
 */
export function withTokens<Result>(
  feature: Feature,
  work: (held: HeldTokens) => Promise<Result>,
  options: HeldWorkOptions = {},
): Promise<Result> {
  return configuredTollgate().withTokens(feature, work, options);
}
