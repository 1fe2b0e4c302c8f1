import type { ExtensionRefusal, GrowthRefusal, HoldEndRefusal, RefundRefusal } from '../../domain/refusals.ts';
import {
  availableOf,
  end,
  giveBack,
  isAmount,
  isKey,
  isLifetime,
  isWithinLimit,
  splitOff,
  sum,
  take,
} from './tokens.ts';
import type { Answer, Command, Ending, Growth, Hold, Ledger, Missing, Refund } from './vocabulary.ts';

/** What a hold may go through once it is placed, each in the order of its list in domain/refusals.ts. */

type Asked<V extends Command['verb']> = Extract<Command, { verb: V }>;

export function extend(ledger: Ledger, asked: Asked<'extend'>): Answer {
  const hold = ledger.holds[asked.holdId];
  const refused = (outcome: ExtensionRefusal): Answer => ({ outcome });
  if (asked.isStranger) return refused('not_a_member');
  if (hold === undefined) return refused('hold_unknown');
  if (hold.isOfJob) return refused('hold_of_a_job');
  if (!isLifetime(asked.lifetimeMs)) return refused('lifetime_invalid');
  if (hold.state !== 'held') return refused(`hold_${hold.state}`);
  hold.expiresAt = Math.max(hold.expiresAt, ledger.now + asked.lifetimeMs);
  return { outcome: 'extended' };
}

/** A plan without the type has no open hold of it here: plans do not change. */
export function grow(ledger: Ledger, { holdId, key, amount, isStranger }: Asked<'grow'>): Growth {
  const hold = ledger.holds[holdId];
  const refused = (outcome: GrowthRefusal, available: number | null = null): Growth => ({
    outcome,
    isRepeat: false,
    amount: (!isStranger && hold?.amount) || null,
    available,
  });
  if (isStranger) return refused('not_a_member');
  if (hold === undefined) return refused('hold_unknown');
  if (hold.isOfJob) return refused('hold_of_a_job');
  if (!isKey(key)) return refused('key_invalid');
  const grown = hold.grows[key];
  if (grown !== undefined && grown.amount !== amount) return refused('key_reused');
  if (grown !== undefined) return { outcome: 'grown', isRepeat: true, amount: hold.amount, available: grown.available };
  if (hold.state !== 'held') return refused(`hold_${hold.state}`);
  if (!isAmount(amount)) return refused('amount_invalid');
  const shortage = takeMore(ledger, hold, amount);
  const available = availableOf(ledger, hold.tokenType);
  if (shortage !== null) return { ...refused(shortage, available), ...missing(ledger, hold, shortage, amount) };
  hold.grows[key] = { amount, available };
  return { outcome: 'grown', isRepeat: false, amount: hold.amount, available };
}

/** Of a batch these are decided first, as one: last captures and releases of whole open holds, for one row each. */
export function isPlain(ledger: Ledger, row: Command, rows: readonly Command[]): boolean {
  if (row.verb !== 'capture' && row.verb !== 'release') return true;
  const hold = ledger.holds[row.holdId];
  if (row.isStranger || hold === undefined || hold.isOfJob) return true;
  if (hold.state !== 'held' || hold.captures.length > 0) return false;
  if (rows.filter((one) => 'holdId' in one && one.holdId === row.holdId).length > 1) return false;
  if (row.verb === 'release') return true;
  return (
    row.key === undefined &&
    row.isLast !== false &&
    (row.amount === null || (isAmount(row.amount) && row.amount <= sum(hold.open)))
  );
}

/** Ids of charges are `{holdId}.{n}`, n from 1. A capture that is not the last one leaves the hold open. */
export function endHold(ledger: Ledger, asked: Asked<'capture' | 'release'>): Ending {
  const hold = ledger.holds[asked.holdId];
  const refused = (outcome: HoldEndRefusal, returned = 0): Ending => ({
    outcome,
    isRepeat: false,
    chargeId: null,
    captured: 0,
    returned,
    capturedInAll: !asked.isStranger && hold !== undefined && !hold.isOfJob ? chargedOf(hold) : 0,
  });
  if (asked.isStranger) return refused('not_a_member');
  if (hold === undefined) return refused('hold_unknown');
  if (hold.isOfJob) return refused('hold_of_a_job');

  const unused = () => hold.amount - chargedOf(hold);
  if (asked.verb === 'release') {
    const isRepeat = hold.state !== 'held';
    if (hold.state === 'captured') return refused('hold_captured', unused());
    if (hold.state === 'held') end(ledger, hold, 'released');
    const { state: outcome } = hold as { state: 'released' | 'lapsed' };
    return { outcome, isRepeat, chargeId: null, captured: 0, returned: unused(), capturedInAll: chargedOf(hold) };
  }

  const { key = null, isLast = true } = asked;
  const answer = (number: number, isRepeat: boolean): Ending => {
    const { amount, isLast } = hold.captures[number]!;
    return {
      outcome: 'captured',
      isRepeat,
      chargeId: amount > 0 ? `${asked.holdId}.${number + 1}` : null,
      captured: amount,
      returned: isLast ? unused() : 0,
      capturedInAll: chargedOf(hold),
    };
  };
  const seen = hold.captures.findIndex((capture) => capture.key === key);
  if (seen >= 0) {
    const before = hold.captures[seen]!;
    // Without a key, all that is open and its amount are the same request.
    const isSame =
      before.isLast === isLast &&
      (key === null ? (before.asked ?? before.open) === (asked.amount ?? before.open) : before.asked === asked.amount);
    if (isSame) return answer(seen, true);
    if (key !== null) return refused('key_reused', before.isLast ? unused() : 0);
  }
  if (hold.state !== 'held') return refused(`hold_${hold.state}`, unused());
  if (asked.amount !== null && !isAmount(asked.amount)) return refused('amount_invalid');
  if (key === null ? !isLast : !isKey(key)) return refused('key_invalid');

  const open = sum(hold.open);
  let amount = asked.amount ?? open;
  if (amount > open) {
    if (ledger.aboveHold === 'refuse') return refused('amount_above_hold');
    if (ledger.aboveHold === 'cap') amount = open;
    else {
      const shortage = takeMore(ledger, hold, amount - open);
      if (shortage !== null) return { ...refused(shortage), ...missing(ledger, hold, shortage, amount - open) };
    }
  }
  if (amount === 0 && !isLast) return refused('amount_above_hold');
  hold.captures.push({ key, isLast, asked: asked.amount, open, amount, parts: splitOff(hold.open, amount) });
  if (isLast) end(ledger, hold, 'captured');
  return answer(hold.captures.length - 1, false);
}

/** What was burnt last comes back first. */
export function refund(ledger: Ledger, { chargeId, amount, key, isStranger }: Asked<'refund'>): Refund {
  const refused = (outcome: RefundRefusal, seen: Partial<Refund> = {}): Refund => ({ outcome, ...NOTHING, ...seen });
  if (isStranger) return refused('not_a_member');
  const asked = `${chargeId} ${amount}`;
  const before = ledger.refunds[key];
  if (before !== undefined && before.asked !== asked) return refused('key_reused');
  if (before !== undefined) return { ...before.answer, isRepeat: true };

  const [, holdId = '', number = 0] = /^(.+)\.([1-9]\d*)$/.exec(chargeId) ?? [];
  const hold = ledger.holds[holdId];
  const charge = hold?.captures[Number(number) - 1];
  if (hold === undefined || charge === undefined || charge.amount === 0) return refused('charge_unknown');
  const left = sum(charge.parts);
  const figures = (refunded: number): Omit<Refund, 'outcome' | 'isRepeat'> => ({
    refunded,
    refundedInAll: charge.amount - sum(charge.parts),
    charged: charge.amount,
    available: availableOf(ledger, hold.tokenType),
  });
  if (amount !== null && amount <= 0) return refused('amount_invalid', figures(0));
  if (amount === null && left === 0) return { outcome: 'refunded', isRepeat: true, ...figures(charge.amount) };
  if ((amount ?? left) > left) return refused('amount_above_charge', figures(0));
  const burntLast = charge.parts.toReversed();
  giveBack(ledger, splitOff(burntLast, amount ?? left), ledger.now);
  charge.parts = burntLast.reverse();
  const answer: Refund = { outcome: 'refunded', isRepeat: false, ...figures(amount ?? left) };
  ledger.refunds[key] = { asked, answer };
  return answer;
}
const NOTHING = { isRepeat: false, refunded: null, refundedInAll: null, charged: null, available: null } as const;

/** Behind what the hold took before. */
function takeMore(ledger: Ledger, hold: Hold, amount: number): 'limit_reached' | 'tokens_insufficient' | null {
  if (!isWithinLimit(ledger, hold.tokenType, amount)) return 'limit_reached';
  if (availableOf(ledger, hold.tokenType) < amount) return 'tokens_insufficient';
  hold.open.push(...take(ledger, hold.tokenType, amount));
  hold.amount += amount;
  return null;
}

/** What the refusal says beside its name, where it is for want of tokens. */
function missing(ledger: Ledger, { tokenType }: Hold, shortage: string, required: number): { missing?: Missing } {
  if (shortage !== 'tokens_insufficient') return {};
  return { missing: { tokenType, required, available: availableOf(ledger, tokenType) } };
}

const chargedOf = ({ captures }: Hold): number => captures.reduce((total, { amount }) => total + amount, 0);
