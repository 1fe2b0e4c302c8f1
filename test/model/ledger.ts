import { FEATURE_TOKEN_TYPES, isFeature, type Plan, TOKEN_LIMITS, TOKEN_TYPES } from '../../domain/catalog.ts';
import type { HoldRefusal } from '../../domain/refusals.ts';
import { endHold, extend, grow, isPlain, refund } from './steps.ts';
import { availableOf, DAY_MS, isAmount, isLifetime, isOf, isWithinLimit, settleTime, sum, take } from './tokens.ts';
import type { Answer, Command, Hold, Ledger, Part, Settings } from './vocabulary.ts';

export type { Answer, Command, Ending, Grant, Growth, Hold, Ledger, Part, Refund, Settings } from './vocabulary.ts';

/**
 * What one organization's ledger answers, said as plainly as it can be: no database, no clock, no batches, no speed. The
 * SQL functions must give the same answers (schedules.test.ts), one call at a time and with many in flight.
 *
 * Left out: debts, periods, limits of a day, jobs other than that their holds are theirs.
 */
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
