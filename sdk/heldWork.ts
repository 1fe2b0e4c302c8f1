import type { GrownHold, PlacedHold } from '../contract/holds.ts';
import { type Feature, TOKEN_COSTS } from '../domain/catalog.ts';
import { now, orAborted } from './backOff.ts';
import { type Connection, newIdempotencyKey } from './connection.ts';
import { keepExtending } from './holdExtension.ts';
import type { Outage } from './outage.ts';
import { TollgateError } from './tollgateError.ts';

/** What the work is given: the tokens that are set aside for it, and how to say that it used fewer, or needs more. */
export interface HeldTokens {
  readonly tokens: number;
  /** Charge this many instead of all, 0 for none; the rest goes back. The last one counts. */
  use(tokens: number): void;
  /** Sets so many more aside. Throws TollgateError when they cannot be had; what is held stays held. */
  grow(tokens: number, options?: { idempotencyKey?: string }): Promise<void>;
  /** Aborted by the caller's signal, and when the hold is known to have lapsed (TollgateError `hold_lapsed`). Hand it on to what the work calls. */
  readonly signal: AbortSignal;
  /** The tokens are no longer set aside. Work that goes on all the same is charged by a deduction when it is done. */
  readonly isLapsed: boolean;
}

export interface HeldWorkOptions {
  /** How many to set aside; the feature's price when left out. */
  tokens?: number;
  /** After so long without a sign of life the hold lapses by itself. Default 900; a day at most. */
  lifetimeSeconds?: number;
  /** For one run only, 1 to 240 printable ASCII characters. Made for the call when left out. */
  idempotencyKey?: string;
  signal?: AbortSignal;
}

export type WithTokens = <Result>(
  feature: Feature,
  work: (held: HeldTokens) => Promise<Result>,
  options?: HeldWorkOptions,
) => Promise<Result>;

const DEFAULT_LIFETIME_S = 900;
/** What is left of a key's 255 is for what follows from it. */
const LONGEST_KEY = 240;

/** `withTokens` over a connection: see the doc comment there. */
export function createHeldWork(connection: Connection, outage: Outage): WithTokens {
  return async (feature, work, options = {}) => {
    const { tokens, lifetimeSeconds = DEFAULT_LIFETIME_S, signal, idempotencyKey = newIdempotencyKey() } = options;
    signal?.throwIfAborted();
    if (idempotencyKey.length > LONGEST_KEY) {
      throw new RangeError(`withTokens takes an idempotencyKey of at most ${LONGEST_KEY} characters.`);
    }
    const post = <Answer>(path: string, body?: object, key?: string) =>
      connection.send<Answer>({ method: 'post', path, body, idempotencyKey: key, isRepeatable: true });
    const release = ({ links }: PlacedHold) => post(links.release).catch(() => {});

    const askedAt = now();
    const wishes = { feature, ...(tokens === undefined ? {} : { tokens }), lifetimeSeconds };
    const placing = post<PlacedHold>('/api/v1/holds', wishes, idempotencyKey);
    const placed = await orAborted(placing, signal, ({ answer }) => release(answer)).catch((error: unknown) => {
      if (!outage.letsThrough(feature, error)) throw error;
      return null;
    });
    // The hold may have ended since, or another process may be at the work: either way this work would not be paid.
    if (placed?.isReplay)
      throw new Error('withTokens has run under this idempotencyKey before. Use a new one for new work.');
    if (placed !== null) outage.noteAdmission(feature);
    const hold = placed?.answer ?? null;

    const heldAtFirst = hold?.tokens ?? tokens ?? TOKEN_COSTS[feature];
    let heldTokens = heldAtFirst;
    let used: number | null = null;
    let isLapsed = false;
    const lapse = new AbortController();
    const keeping =
      hold === null
        ? null
        : keepExtending(
            connection,
            { extendLink: hold.links.extend, lifetimeSeconds, livesUntil: askedAt + lifetimeSeconds * 1_000 },
            (error) => {
              isLapsed = true;
              // An open feature's work goes on in an outage, whether that began before it or in the middle of it.
              if (!(error.isOutage && outage.isOpen(feature))) lapse.abort(error);
            },
          );
    const held: HeldTokens = {
      get tokens() {
        return heldTokens;
      },
      get isLapsed() {
        return isLapsed;
      },
      signal: signal === undefined ? lapse.signal : AbortSignal.any([lapse.signal, signal]),
      use: (count) => {
        if (!Number.isInteger(count) || count < 0 || count > heldTokens) {
          throw new RangeError(`use() takes a whole number from 0 to ${heldTokens}, the tokens that are set aside.`);
        }
        used = count;
      },
      grow: async (more, { idempotencyKey: key = newIdempotencyKey() } = {}) => {
        if (!Number.isInteger(more) || more < 1) throw new RangeError('grow() takes a whole number from 1.');
        // Nothing is set aside in an outage, so there is nothing that could not be had.
        if (hold === null) heldTokens += more;
        else
          heldTokens = Math.max(
            heldTokens,
            (await post<GrownHold>(hold.links.grow, { tokens: more }, key)).answer.tokens,
          );
      },
    };

    let result: Awaited<ReturnType<typeof work>>;
    try {
      result = await work(held);
      // A result that nobody takes is not delivered, and what is not delivered is not charged.
      signal?.throwIfAborted();
    } catch (error) {
      keeping?.stop();
      // The hold lapses by itself if this does not arrive; the work's own error is what matters.
      if (hold !== null) await release(hold);
      throw error;
    }
    keeping?.stop();
    const tokensUsed = used ?? heldTokens;
    if (tokensUsed === 0) {
      if (hold !== null) await release(hold);
      return result;
    }
    const use = {
      idempotencyKey,
      feature,
      tokens: tokensUsed,
      heldTokens: hold === null ? heldAtFirst : heldTokens,
      lifetimeSeconds,
      holdId: hold?.id ?? null,
      usedAt: new Date().toISOString(),
    };
    try {
      await (hold === null ? outage.enqueue(use) : outage.charge(use));
    } catch (error) {
      if (error instanceof TollgateError) error.isAfterWork = true;
      throw error;
    }
    return result;
  };
}
