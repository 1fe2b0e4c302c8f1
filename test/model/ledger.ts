import {
  FEATURE_TOKEN_TYPES,
  type Feature,
  isFeature,
  type Plan,
  TOKEN_LIMITS,
  TOKEN_TYPES,
  type TokenType,
} from '../../domain/catalog.ts';
import type { HoldEndRefusal, HoldRefusal } from '../../domain/refusals.ts';

/**
 * What one organization's ledger answers, said as plainly as it can be: no database, no clock, no batches, no speed. The
 * SQL functions must give the same answers (schedules.test.ts), one call at a time and with many in flight.
 *
 * Left out: debts, periods, limits, jobs other than that their holds are theirs.
 */
export interface Ledger {
  readonly plan: Plan;
  /** What a capture of more than is held does. */
  readonly aboveHold: 'refuse' | 'cap' | 'draw';
  /** Pooled tokens: the types that a feature may be paid with when its own do not suffice, in this order. */
  readonly fallbacks: Partial<Record<Feature, readonly TokenType[]>>;
  /** Milliseconds, and the same for every row of a call. Each change comes a moment after the one before. */
  now: number;
  /** Oldest first. */
  grants: Grant[];
  holds: Record<string, Hold>;
}

export interface Grant {
  tokenType: TokenType;
  isOfPlan: boolean;
  priority: number;
  isPaid: boolean;
  /** Null: never. */
  expiresAt: number | null;
  /** What is neither held nor gone. */
  remaining: number;
}

/** Tokens and the grant that they came from, by its place in `grants`. */
interface Part {
  grant: number;
  amount: number;
}

interface Hold {
  feature: Feature;
  tokenType: TokenType;
  isOfJob: boolean;
  state: 'held' | 'captured' | 'released' | 'lapsed';
  expiresAt: number;
  /** As asked for; a repeat must ask the same. */
  asked: number;
  /** All ever set aside, grows included. */
  amount: number;
  /** What is neither charged nor given back, in the order taken. */
  open: Part[];
  charges: Charge[];
  grows: Record<string, number>;
}

interface Charge {
  key: string | null;
  /** As asked for, where null asked for all that was open; a repeat must ask the same. */
  asked: number;
  open: number;
  amount: number;
  /** What is not refunded, in the order burnt. */
  parts: Part[];
}

/** Who asks: a member unless said. */
type Asked<T> = T & { isStranger?: boolean };

export type Command =
  | Asked<{ verb: 'hold'; holdId: string; feature: Feature; amount: number; lifetimeMs: number; isOfJob?: boolean }>
  | Asked<{ verb: 'extend'; holdId: string; lifetimeMs: number }>
  | Asked<{ verb: 'grow'; holdId: string; key: string; amount: number }>
  /** An amount of null is all that is held. With a key the hold stays open. */
  | Asked<{ verb: 'capture'; holdId: string; amount: number | null; key?: string }>
  | Asked<{ verb: 'release'; holdId: string }>
  | Asked<{ verb: 'refund'; chargeId: string; amount: number | null }>
  | { verb: 'adjust'; tokenType: TokenType; change: number }
  | {
      verb: 'grant';
      tokenType: TokenType;
      amount: number;
      priority: number;
      isPaid: boolean;
      lifetimeMs: number | null;
    }
  | { verb: 'elapse'; durationMs: number }
  /** What can be spent. */
  | { verb: 'look'; tokenType: TokenType }
  /** What can be spent, what is set aside, and what is left of each grant. */
  | { verb: 'inspect'; tokenType: TokenType };

export type Answer =
  | { outcome: Hold['state'] | HoldRefusal; isRepeat: boolean; tokenType: TokenType | null; available: number | null }
  | { outcome: Hold['state'] | HoldEndRefusal | Later; isRepeat: boolean; captured: number; returned: number }
  | { outcome: 'adjusted' | 'granted' | 'elapsed' | 'adjustment_refused' }
  | { available: number }
  | { available: number; held: number; grants: number[] };
/** Refusals and outcomes of what domain/refusals.ts does not have yet. */
type Later =
  | 'extended'
  | 'grown'
  | 'refunded'
  | Extract<HoldRefusal, 'lifetime_invalid' | 'tokens_insufficient'>
  | 'key_reused'
  | 'charge_unknown'
  | 'amount_above_charge';

export function newLedger(plan: Plan, settings: Partial<Pick<Ledger, 'aboveHold' | 'fallbacks'>> = {}): Ledger {
  // A period is never over here: its end only has to come after everything that a schedule dates.
  const allowances = TOKEN_TYPES.filter((tokenType) => TOKEN_LIMITS[plan][tokenType] > 0).map((tokenType) => ({
    tokenType,
    isOfPlan: true,
    priority: 100,
    isPaid: false,
    expiresAt: 28 * DAY_MS,
    remaining: TOKEN_LIMITS[plan][tokenType],
  }));
  return { plan, aboveHold: 'refuse', fallbacks: {}, now: 0, grants: allowances, holds: {}, ...settings };
}

/**
 * The rows of one call, decided one after the other at one instant; holds balance by balance, in the order of their names.
 * The ledger that is handed in stays as it is, and is answered itself where nothing changed.
 */
export function decide(before: Ledger, rows: readonly Command[]): { ledger: Ledger; answers: Answer[] } {
  const ledger = copyOf(before);
  ledger.now += 1;
  settleTime(ledger);
  const answers: Answer[] = [];
  const order = rows
    .map((row, index) => ({ row, index }))
    .toSorted((a, b) => balanceOf(a.row).localeCompare(balanceOf(b.row)));
  for (const { row, index } of order) answers[index] = answerTo(ledger, row);
  const isUnchanged = keyOf(ledger) === keyOf({ ...before, now: before.now + 1 });
  return { ledger: isUnchanged ? before : ledger, answers };
}

/** Equal for ledgers that are the same in everything. */
export function keyOf({ now, grants, holds }: Ledger): string {
  return JSON.stringify([now, grants, holds]);
}

function copyOf(ledger: Ledger): Ledger {
  const holds = Object.entries(ledger.holds).map(([id, hold]) => [
    id,
    {
      ...hold,
      open: copyOfParts(hold.open),
      charges: hold.charges.map((charge) => ({ ...charge, parts: copyOfParts(charge.parts) })),
      grows: { ...hold.grows },
    },
  ]);
  return { ...ledger, grants: ledger.grants.map((grant) => ({ ...grant })), holds: Object.fromEntries(holds) };
}
const copyOfParts = (parts: readonly Part[]): Part[] => parts.map((part) => ({ ...part }));

function balanceOf(row: Command): string {
  return row.verb === 'hold' && isFeature(row.feature) ? FEATURE_TOKEN_TYPES[row.feature] : '';
}

function answerTo(ledger: Ledger, command: Command): Answer {
  switch (command.verb) {
    case 'hold':
      return hold(ledger, command);
    case 'extend':
    case 'grow':
    case 'capture':
    case 'release':
      return changeHold(ledger, command);
    case 'refund':
      return refund(ledger, command);
    case 'adjust':
      return adjust(ledger, command);
    case 'grant': {
      const { tokenType, amount, priority, isPaid, lifetimeMs } = command;
      const expiresAt = lifetimeMs === null ? null : ledger.now + lifetimeMs;
      ledger.grants.push({ tokenType, isOfPlan: false, priority, isPaid, expiresAt, remaining: amount });
      return { outcome: 'granted' };
    }
    case 'elapse':
      ledger.now += command.durationMs;
      settleTime(ledger);
      return { outcome: 'elapsed' };
    case 'look':
      return { available: availableOf(ledger, command.tokenType) };
    case 'inspect':
      return {
        available: availableOf(ledger, command.tokenType),
        held: sum(
          Object.values(ledger.holds)
            .filter(isOf(command))
            .flatMap((hold) => hold.open),
        ),
        grants: ledger.grants.filter(isOf(command)).map((grant) => grant.remaining),
      };
  }
}

/** In the order of HOLD_REFUSALS. */
function hold(ledger: Ledger, asked: Extract<Command, { verb: 'hold' }>): Answer {
  const { holdId, feature, amount, lifetimeMs, isOfJob = false } = asked;
  const own = isFeature(feature) ? FEATURE_TOKEN_TYPES[feature] : null;
  const refused = (outcome: HoldRefusal): Answer => ({ outcome, isRepeat: false, tokenType: own, available: null });
  if (asked.isStranger) return refused('not_a_member');
  if (own === null) return refused('feature_unknown');
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(holdId)) return refused('id_invalid');
  if (!isAmount(amount)) return refused('amount_invalid');
  if (!isLifetime(lifetimeMs)) return refused('lifetime_invalid');

  const answer = (outcome: Hold['state'] | HoldRefusal, tokenType = own, isRepeat = false): Answer => ({
    outcome,
    isRepeat,
    tokenType,
    available: availableOf(ledger, tokenType),
  });
  const seen = ledger.holds[holdId];
  if (seen !== undefined) {
    const isSame = seen.feature === feature && seen.asked === amount && seen.isOfJob === isOfJob;
    return isSame ? answer(seen.state, seen.tokenType, true) : answer('id_reused');
  }
  if (TOKEN_LIMITS[ledger.plan][own] === 0) return answer('feature_not_available');
  const tokenType = [own, ...(ledger.fallbacks[feature] ?? [])].find((type) => availableOf(ledger, type) >= amount);
  if (tokenType === undefined) return answer('tokens_insufficient');

  ledger.holds[holdId] = {
    feature,
    tokenType,
    isOfJob,
    state: 'held',
    expiresAt: ledger.now + lifetimeMs,
    asked: amount,
    amount,
    open: take(ledger, tokenType, amount),
    charges: [],
    grows: {},
  };
  return answer('held', tokenType);
}

/** In the order of HOLD_END_REFUSALS. */
function changeHold(
  ledger: Ledger,
  asked: Extract<Command, { verb: 'extend' | 'grow' | 'capture' | 'release' }>,
): Answer {
  const hold = ledger.holds[asked.holdId];
  const refused = (outcome: HoldEndRefusal | Later): Answer => ({ outcome, isRepeat: false, captured: 0, returned: 0 });
  if (asked.isStranger) return refused('not_a_member');
  if (hold === undefined) return refused('hold_unknown');
  if (hold.isOfJob) return refused('hold_of_a_job');

  const captured = () => hold.charges.reduce((total, charge) => total + charge.amount, 0);
  const answer = (outcome: Hold['state'] | HoldEndRefusal | Later, isRepeat = false): Answer => ({
    outcome,
    isRepeat,
    captured: captured(),
    returned: hold.state === 'held' ? 0 : hold.amount - captured(),
  });

  if (asked.verb === 'grow' && hold.grows[asked.key] !== undefined)
    return hold.grows[asked.key] === asked.amount ? answer('grown', true) : refused('key_reused');
  const charged = asked.verb === 'capture' && hold.charges.find(({ key }) => key === (asked.key ?? null));
  const isChargedAlike = charged && charged.asked === (asked.amount ?? charged.open);
  if (charged && asked.key !== undefined) return isChargedAlike ? answer('held', true) : refused('key_reused');

  if (hold.state !== 'held') {
    const isRepeat = isChargedAlike || (asked.verb === 'release' && hold.state !== 'captured');
    return isRepeat ? answer(hold.state, true) : answer(`hold_${hold.state}`);
  }

  switch (asked.verb) {
    case 'extend':
      if (!isLifetime(asked.lifetimeMs)) return refused('lifetime_invalid');
      hold.expiresAt = ledger.now + asked.lifetimeMs;
      return answer('extended');
    case 'grow':
      if (!isAmount(asked.amount)) return refused('amount_invalid');
      if (availableOf(ledger, hold.tokenType) < asked.amount) return refused('tokens_insufficient');
      hold.open.push(...take(ledger, hold.tokenType, asked.amount));
      hold.amount += asked.amount;
      hold.grows[asked.key] = asked.amount;
      return answer('grown');
    case 'release':
      end(ledger, hold, 'released');
      return answer('released');
    case 'capture': {
      const open = sum(hold.open);
      let amount = asked.amount ?? open;
      if (!isAmount(amount)) return refused('amount_invalid');
      if (amount > open) {
        if (ledger.aboveHold === 'refuse') return refused('amount_above_hold');
        if (ledger.aboveHold === 'cap') amount = open;
        else {
          if (availableOf(ledger, hold.tokenType) < amount - open) return refused('tokens_insufficient');
          hold.amount += amount - open;
          hold.open.push(...take(ledger, hold.tokenType, amount - open));
        }
      }
      hold.charges.push({
        key: asked.key ?? null,
        asked: asked.amount ?? open,
        open,
        amount,
        parts: splitOff(hold.open, amount),
      });
      if (asked.key !== undefined) return answer('held');
      end(ledger, hold, 'captured');
      return answer('captured');
    }
  }
}

/** Ids of charges are `{holdId}.{n}`, n from 1. What was burnt last comes back first. */
function refund(ledger: Ledger, { chargeId, amount, isStranger }: Extract<Command, { verb: 'refund' }>): Answer {
  const refused = (outcome: HoldEndRefusal | Later): Answer => ({ outcome, isRepeat: false, captured: 0, returned: 0 });
  if (isStranger) return refused('not_a_member');
  const [, holdId = '', number = 0] = /^(.*)\.(\d+)$/.exec(chargeId) ?? [];
  const charge = ledger.holds[holdId]?.charges[Number(number) - 1];
  if (charge === undefined) return refused('charge_unknown');
  const wanted = amount ?? sum(charge.parts);
  if (!isAmount(wanted)) return refused('amount_invalid');
  if (wanted > sum(charge.parts)) return refused('amount_above_charge');
  const burntLast = charge.parts.toReversed();
  giveBack(ledger, splitOff(burntLast, wanted), ledger.now);
  charge.parts = burntLast.reverse();
  return { outcome: 'refunded', isRepeat: false, captured: charge.amount, returned: charge.amount - sum(charge.parts) };
}

function adjust(ledger: Ledger, { tokenType, change }: Extract<Command, { verb: 'adjust' }>): Answer {
  if (availableOf(ledger, tokenType) + change < 0) return { outcome: 'adjustment_refused' };
  if (change < 0) take(ledger, tokenType, -change);
  if (change > 0)
    ledger.grants.push({
      tokenType,
      isOfPlan: false,
      priority: 100,
      isPaid: false,
      expiresAt: null,
      remaining: change,
    });
  return { outcome: 'adjusted' };
}

/** What fell due takes effect in the order in which it did; at one instant holds lapse first, then grants expire. */
function settleTime(ledger: Ledger): void {
  for (;;) {
    const lapsing = earliest(Object.values(ledger.holds).filter(({ state }) => state === 'held'));
    const expiring = earliest(ledger.grants.filter(({ remaining }) => remaining > 0));
    const due = earliest([lapsing, expiring].filter((one) => one !== undefined));
    if (due === undefined || due.expiresAt! > ledger.now) return;
    if (due === lapsing) end(ledger, lapsing, 'lapsed', lapsing.expiresAt);
    else expiring!.remaining = 0;
  }
}

function end(ledger: Ledger, hold: Hold, state: 'captured' | 'released' | 'lapsed', at = ledger.now): void {
  giveBack(ledger, hold.open, at);
  hold.open = [];
  hold.state = state;
}

/** From the live grants in burn order: priority, soonest expiry, free before paid, oldest. The caller knows that they suffice. */
function take(ledger: Ledger, tokenType: TokenType, amount: number): Part[] {
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
function giveBack(ledger: Ledger, parts: readonly Part[], at: number): void {
  for (const { grant: index, amount } of parts) {
    const grant = ledger.grants[index]!;
    const isOver = grant.expiresAt !== null && grant.expiresAt < at;
    if (isOver && grant.isOfPlan) continue;
    if (isOver) grant.expiresAt = at + 7 * DAY_MS;
    grant.remaining += amount;
  }
}

/** Takes the first `amount` tokens out of the parts. */
function splitOff(parts: Part[], amount: number): Part[] {
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

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const availableOf = (ledger: Ledger, tokenType: TokenType): number =>
  ledger.grants.filter(isOf({ tokenType })).reduce((total, grant) => total + grant.remaining, 0);
const isOf =
  ({ tokenType }: { tokenType: TokenType }) =>
  (one: { tokenType: TokenType }): boolean =>
    one.tokenType === tokenType;
const isAmount = (amount: number | null): amount is number =>
  amount !== null && amount > 0 && amount <= Number.MAX_SAFE_INTEGER;
const isLifetime = (lifetimeMs: number): boolean => lifetimeMs > 0 && lifetimeMs <= 366 * DAY_MS;
const sum = (parts: readonly Part[]): number => parts.reduce((total, part) => total + part.amount, 0);

/** Of equals the first: holds are named before grants, and older before younger. */
function earliest<T extends { expiresAt: number | null }>(all: readonly T[]): T | undefined {
  return all.reduce<T | undefined>((first, one) => {
    if (one.expiresAt === null) return first;
    return first === undefined || one.expiresAt < first.expiresAt! ? one : first;
  }, undefined);
}
