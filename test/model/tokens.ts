import type { TokenType } from '../../domain/catalog.ts';
import type { Hold, Ledger, Part } from './vocabulary.ts';

/** How tokens move between grants and holds in the pure model, and what time does to both. */

/** From the live grants in burn order: priority, soonest expiry, free before paid, oldest. The caller knows that they suffice. */
export function take(ledger: Ledger, tokenType: TokenType, amount: number): Part[] {
  const burning = ledger.grants
    .map((grant, index) => ({ grant, index }))
    .filter(({ grant }) => grant.tokenType === tokenType && grant.remaining > 0)
    .toSorted(
      ({ grant: a, index: i }, { grant: b, index: j }) =>
        a.priority - b.priority ||
        (a.expiresAt === b.expiresAt ? 0 : (a.expiresAt ?? Infinity) - (b.expiresAt ?? Infinity)) ||
        Number(a.isPaid) - Number(b.isPaid) ||
        i - j,
    )
    .map(({ grant, index }) => ({ grant: index, amount: grant.remaining }));
  const taken = splitOff(burning, amount);
  for (const part of taken) ledger.grants[part.grant]!.remaining -= part.amount;
  return taken;
}

/** To where they came from. A plan's tokens whose time is over stay expired; others live on for seven days of grace. */
export function giveBack(ledger: Ledger, parts: readonly Part[], at: number): void {
  for (const { grant: index, amount } of parts) {
    const grant = ledger.grants[index]!;
    const isOver = grant.expiresAt !== null && grant.expiresAt < at;
    if (isOver && grant.isOfPlan) continue;
    if (isOver) grant.expiresAt = at + 7 * DAY_MS;
    grant.remaining += amount;
  }
}

/** Takes the first `amount` tokens out of the parts. */
export function splitOff(parts: Part[], amount: number): Part[] {
  const taken: Part[] = [];
  for (let wanted = amount; wanted > 0; ) {
    const first = parts[0]!;
    const part = Math.min(wanted, first.amount);
    taken.push({ grant: first.grant, amount: part });
    first.amount -= part;
    wanted -= part;
    if (first.amount === 0) parts.shift();
  }
  return taken;
}

/** What fell due takes effect in the order in which it did; at one instant holds lapse first, then grants expire. */
export function settleTime(ledger: Ledger): void {
  for (;;) {
    const lapsing = earliest(Object.values(ledger.holds).filter(({ state }) => state === 'held'));
    const expiring = earliest(ledger.grants.filter(({ remaining }) => remaining > 0));
    const due = earliest([lapsing, expiring].filter((one) => one !== undefined));
    if (due === undefined || due.expiresAt! > ledger.now) return;
    if (due === lapsing) end(ledger, lapsing, 'lapsed', lapsing.expiresAt);
    else expiring!.remaining = 0;
  }
}

export function end(ledger: Ledger, hold: Hold, state: 'captured' | 'released' | 'lapsed', at = ledger.now): void {
  giveBack(ledger, hold.open, at);
  hold.open = [];
  hold.state = state;
}

export const availableOf = (ledger: Ledger, tokenType: TokenType): number =>
  ledger.grants.filter(isOf({ tokenType })).reduce((total, grant) => total + grant.remaining, 0);

/** What is held or charged of a type and has not come back counts in its limit. */
export function isWithinLimit(ledger: Ledger, tokenType: TokenType, amount: number): boolean {
  const limit = ledger.limits[tokenType];
  if (limit === undefined) return true;
  const holds = Object.values(ledger.holds).filter(isOf({ tokenType }));
  const used = holds.reduce((total, { open, captures }) => {
    return total + sum(open) + captures.reduce((charged, { parts }) => charged + sum(parts), 0);
  }, 0);
  return used + amount <= limit;
}

export const isOf =
  ({ tokenType }: { tokenType: TokenType }) =>
  (one: { tokenType: TokenType }): boolean =>
    one.tokenType === tokenType;
export const isAmount = (amount: number | null): amount is number =>
  amount !== null && amount > 0 && amount <= Number.MAX_SAFE_INTEGER;
export const isLifetime = (lifetimeMs: number): boolean => lifetimeMs > 0 && lifetimeMs <= 366 * DAY_MS;
export const isKey = (key: string | null): key is string => key !== null && key.length >= 1 && key.length <= 255;
export const sum = (parts: readonly Part[]): number => parts.reduce((total, part) => total + part.amount, 0);
export const DAY_MS = 24 * 3_600_000;

/** Of equals the first: holds are named before grants, and older before younger. */
function earliest<T extends { expiresAt: number | null }>(all: readonly T[]): T | undefined {
  return all.reduce<T | undefined>((first, one) => {
    if (one.expiresAt === null) return first;
    return first === undefined || one.expiresAt < first.expiresAt! ? one : first;
  }, undefined);
}
