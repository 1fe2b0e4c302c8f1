import type { PlacedHold } from '../contract/holds.ts';
import type { Connection } from './connection.ts';
import type { QueuedUse } from './outageQueue.ts';
import { TollgateError } from './tollgateError.ts';

/** Long enough for the capture that follows at once, and its repeats. */
const DEDUCTION_LIFETIME_S = 300;

/**
 * Charges a use, once however often this is called for it, from whichever processes. Throws TollgateError; what an outage left in
 * doubt is cleared up by the next call.
 *
 * The hold of the call itself is captured. Where that hold has lapsed, or can no longer be had, the use is deducted: held and
 * captured at once, under a key that follows from the call's (`KEY~1`, `KEY~2`, …). A next key is taken only when the hold before it is known to have
 * ended without a charge: its release is answered then, while a charged one refuses it. So however far two attempts at the same
 * use have come, they walk the same holds in the same order, and one of these is charged.
 *
 * Not by the deduct endpoint: that one charges the feature's price, and a use is an amount.
 */
export async function chargeUse(connection: Connection, use: QueuedUse): Promise<void> {
  const { idempotencyKey, feature, tokens, lifetimeSeconds } = use;
  for (let deduction = 0; ; deduction++) {
    const isOwnHold = deduction === 0;
    const heldTokens = isOwnHold ? use.heldTokens : tokens;
    const holdId =
      (isOwnHold ? use.holdId : null) ??
      (await placed(isOwnHold ? idempotencyKey : `${idempotencyKey}~${deduction}`, heldTokens, isOwnHold));
    if (holdId === null) continue;
    if (heldTokens >= tokens && (await stepped(holdId, 'capture', { tokens }))) return;
    if (!(await stepped(holdId, 'release'))) return;
  }

  /** Null: the call's own hold cannot be had; a deduction's refusal is final. */
  async function placed(key: string, heldTokens: number, isOwnHold: boolean): Promise<string | null> {
    try {
      const { answer } = await connection.send<PlacedHold>({
        method: 'post',
        path: '/api/v1/holds',
        body: { feature, tokens: heldTokens, lifetimeSeconds: isOwnHold ? lifetimeSeconds : DEDUCTION_LIFETIME_S },
        idempotencyKey: key,
        isRepeatable: true,
      });
      return answer.id;
    } catch (error) {
      const isSomebodyElses = error instanceof TollgateError && error.code === 'idempotency_key_reused';
      const isTooMuch = error instanceof TollgateError && error.code === 'tokens_insufficient' && tokens < heldTokens;
      if (isOwnHold && (isSomebodyElses || isTooMuch)) return null;
      throw error;
    }
  }

  /** False: the hold has ended otherwise. */
  async function stepped(holdId: string, step: 'capture' | 'release', body?: object): Promise<boolean> {
    try {
      const path = `/api/v1/holds/${encodeURIComponent(holdId)}/${step}`;
      await connection.send({ method: 'post', path, body, isRepeatable: true });
      return true;
    } catch (error) {
      if (error instanceof TollgateError && error.code === 'hold_already_ended') return false;
      throw error;
    }
  }
}
