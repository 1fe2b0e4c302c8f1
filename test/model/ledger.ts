import {
  FEATURE_TOKEN_TYPES,
  type Feature,
  isFeature,
  type Plan,
  TOKEN_LIMITS,
  TOKEN_TYPES,
  type TokenType,
} from '../../domain/catalog.ts';
import type {
  ExtensionRefusal,
  GrowthRefusal,
  HoldEndRefusal,
  HoldRefusal,
  RefundRefusal,
} from '../../domain/refusals.ts';
import { endHold, extend, grow, isPlain, refund } from './steps.ts';
import { availableOf, DAY_MS, isAmount, isLifetime, isOf, isWithinLimit, settleTime, sum, take } from './tokens.ts';

/**
 * What one organization's ledger answers, said as plainly as it can be: no database, no clock, no batches, no speed. The
 * SQL functions must give the same answers (schedules.test.ts), one call at a time and with many in flight.
 *
 * Left out: debts, periods, limits of a day, jobs other than that their holds are theirs.
 */
export interface Ledger {
  readonly plan: Plan;
  /** What a capture of more than is held does. */
  readonly aboveHold: 'refuse' | 'cap' | 'draw';
  /** Pooled tokens: the types that a feature may be paid with when its own do not suffice, in this order. */
  readonly fallbacks: Partial<Record<Feature, readonly TokenType[]>>;
  /** The most that the organization's keys may use of a type in the period, each of which is the one that calls. */
  readonly limits: Partial<Record<TokenType, number>>;
  /** Milliseconds, and the same for every row of a call. Each change comes a moment after the one before. */
  now: number;
  /** Oldest first. */
  grants: Grant[];
  holds: Record<string, Hold>;
  /** By their keys: what was asked and answered. */
  refunds: Record<string, { asked: string; answer: Refund }>;
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
export interface Part {
  grant: number;
  amount: number;
}

export interface Hold {
  feature: Feature;
  tokenType: TokenType;
  isOfJob: boolean;
  state: 'held' | 'captured' | 'released' | 'lapsed';
  expiresAt: number;
  /** As asked for; a repeat must ask the same. */
  asked: number;
  lifetimeMs: number;
  /** All ever set aside, grows included. */
  amount: number;
  /** What is neither charged nor given back, in the order taken. */
  open: Part[];
  /** Each is a charge, but for a last one that found nothing left to charge. */
  captures: Capture[];
  /** By their keys. */
  grows: Record<string, { amount: number; available: number }>;
}

interface Capture {
  key: string | null;
  isLast: boolean;
  /** As asked for; a repeat must ask the same. Null asked for all that was open. */
  asked: number | null;
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
  /** An amount of null is all that is open. */
  | Asked<{ verb: 'capture'; holdId: string; amount: number | null; key?: string; isLast?: boolean }>
  | Asked<{ verb: 'release'; holdId: string }>
  | Asked<{ verb: 'refund'; chargeId: string; amount: number | null; key: string }>
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
  | Ending
  | Growth
  | Refund
  | { outcome: 'extended' | ExtensionRefusal }
  | { outcome: 'adjusted' | 'granted' | 'elapsed' | 'adjustment_refused' }
  | { available: number }
  | { available: number; held: number; grants: number[] };
export interface Ending {
  outcome: 'captured' | 'released' | 'lapsed' | HoldEndRefusal;
  isRepeat: boolean;
  chargeId: string | null;
  captured: number;
  returned: number;
  capturedInAll: number;
}
export interface Growth {
  outcome: 'grown' | GrowthRefusal;
  isRepeat: boolean;
  amount: number | null;
  available: number | null;
}
export interface Refund {
  outcome: 'refunded' | RefundRefusal;
  isRepeat: boolean;
  refunded: number | null;
  refundedInAll: number | null;
  charged: number | null;
  available: number | null;
}

export type Settings = Pick<Ledger, 'aboveHold' | 'fallbacks' | 'limits'>;

export function newLedger(plan: Plan, settings: Partial<Settings> = {}): Ledger {
  // A period is never over here: its end only has to come after everything that a schedule dates.
  const allowances = TOKEN_TYPES.filter((tokenType) => TOKEN_LIMITS[plan][tokenType] > 0).map((tokenType) => ({
    tokenType,
    isOfPlan: true,
    priority: 100,
    isPaid: false,
    expiresAt: 28 * DAY_MS,
    remaining: TOKEN_LIMITS[plan][tokenType],
  }));
  const rules = { aboveHold: 'refuse', fallbacks: {}, limits: {} } as const;
  return { plan, ...rules, now: 0, grants: allowances, holds: {}, refunds: {}, ...settings };
}

/**
 * The rows of one call, decided one after the other at one instant, in the order given; of captures and releases the plain
 * ones first. The ledger that is handed in stays as it is, and is answered itself where nothing changed.
 */
export function decide(before: Ledger, rows: readonly Command[]): { ledger: Ledger; answers: Answer[] } {
  const ledger = copyOf(before);
  ledger.now += 1;
  settleTime(ledger);
  const answers: Answer[] = [];
  const order = rows
    .map((row, index) => ({ row, index, isPlain: isPlain(ledger, row, rows) }))
    .toSorted((a, b) => Number(b.isPlain) - Number(a.isPlain));
  for (const { row, index } of order) answers[index] = answerTo(ledger, row);
  const isUnchanged = keyOf(ledger) === keyOf({ ...before, now: before.now + 1 });
  return { ledger: isUnchanged ? before : ledger, answers };
}

/** Equal for ledgers that are the same in everything. */
export function keyOf({ now, grants, holds, refunds }: Ledger): string {
  return JSON.stringify([now, grants, holds, refunds]);
}

function copyOf(ledger: Ledger): Ledger {
  const holds = Object.entries(ledger.holds).map(([id, hold]) => [
    id,
    {
      ...hold,
      open: copyOfParts(hold.open),
      captures: hold.captures.map((capture) => ({ ...capture, parts: copyOfParts(capture.parts) })),
      grows: { ...hold.grows },
    },
  ]);
  const grants = ledger.grants.map((grant) => ({ ...grant }));
  return { ...ledger, grants, holds: Object.fromEntries(holds), refunds: { ...ledger.refunds } };
}
const copyOfParts = (parts: readonly Part[]): Part[] => parts.map((part) => ({ ...part }));

function answerTo(ledger: Ledger, command: Command): Answer {
  switch (command.verb) {
    case 'hold':
      return hold(ledger, command);
    case 'extend':
      return extend(ledger, command);
    case 'grow':
      return grow(ledger, command);
    case 'capture':
    case 'release':
      return endHold(ledger, command);
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
    const isSame =
      seen.feature === feature && seen.asked === amount && seen.isOfJob === isOfJob && seen.lifetimeMs === lifetimeMs;
    return isSame ? answer(seen.state, seen.tokenType, true) : answer('id_reused');
  }
  if (TOKEN_LIMITS[ledger.plan][own] === 0) return answer('feature_not_available');
  // The first type that bears the whole hold; its own is the one that is short where none does.
  const bearing = [own, ...(ledger.fallbacks[feature] ?? [])].find((type) => availableOf(ledger, type) >= amount);
  const tokenType = bearing ?? own;
  if (!isWithinLimit(ledger, tokenType, amount)) return answer('limit_reached', tokenType);
  if (bearing === undefined) return answer('tokens_insufficient');

  ledger.holds[holdId] = {
    feature,
    tokenType,
    isOfJob,
    state: 'held',
    expiresAt: ledger.now + lifetimeMs,
    asked: amount,
    lifetimeMs,
    amount,
    open: take(ledger, tokenType, amount),
    captures: [],
    grows: {},
  };
  return answer('held', tokenType);
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
