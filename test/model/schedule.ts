import fc from 'fast-check';
import { FEATURE_TOKEN_TYPES, type Feature, type Plan, TOKEN_COSTS, type TokenType } from '../../domain/catalog.ts';
import type { Command, Settings } from './ledger.ts';

/** What callers do to one new organization: one round after the other, the callers of a round at once. */
export interface Schedule {
  plan: Plan;
  /** What the organization, or its plan, has ruled. */
  settings: Settings;
  /** All callers share one process: what they ask at once goes as one statement. */
  isGathered: boolean;
  /** Before anybody calls. */
  setup: Command[];
  rounds: Round[];
}
export interface Round {
  /** That pass before the round; nobody is in flight then. */
  elapseMs: number;
  callers: PlannedCall[][];
}
export interface PlannedCall {
  /** Of one verb. */
  rows: Command[];
  /** The connection ends while the call is in flight. */
  isCut: boolean;
}

/**
 * Few ids and a balance of few tokens, so that callers meet: each id has the amount and the feature that it is mostly
 * asked for with, which makes the second time a repeat.
 */
const USUAL: Record<string, { feature: Feature; amount: number }> = {
  a: { feature: 'generate_leads', amount: 3 },
  b: { feature: 'generate_leads', amount: 5 },
  c: { feature: 'generate_leads', amount: 8 },
  d: { feature: 'generate_leads', amount: 12 },
  e: { feature: 'generate_leads', amount: 20 },
  f: { feature: 'generate_leads', amount: 35 },
  g: { feature: 'generate_goal', amount: 4 },
  h: { feature: 'generate_goal', amount: 13 },
};
/** The id of a job admitted before anybody calls. What a job costs is the catalogue's. */
export const JOB = 'job';
const JOB_COSTS = { feature: 'generate_leads', amount: TOKEN_COSTS.generate_leads } as const;
const MINUTE_MS = 60_000;
/**
 * All dates are sums of these, multiples of ten minutes: either they are the same and the order of the calls decides, or
 * the moments that a schedule really takes cannot turn them round.
 */
const HOLD_LIFETIMES_MS = [60, 300, 1_800].map((minutes) => minutes * MINUTE_MS);
const GRANT_LIFETIMES_MS = [null, null, 100 * MINUTE_MS, 660 * MINUTE_MS];
/** The last outlives the grace of a grant that is over. */
const ELAPSES_MS = [30, 120, 120, 700, 10_500].map((minutes) => minutes * MINUTE_MS);
/** No period ends within a schedule: the shortest month is longer, with the holds of the last moment. */
const LONGEST_MS = 25 * 24 * 60 * MINUTE_MS;

const holdId = fc.constantFrom(...Object.keys(USUAL));
const knownId = seldom(holdId, fc.constantFrom('unknown', JOB));
const feature = fc.constantFrom<Feature>('generate_leads', 'generate_goal');
const tokenType = feature.map((one): TokenType => FEATURE_TOKEN_TYPES[one]);
const lifetimeMs = fc.constantFrom(...HOLD_LIFETIMES_MS);
const isStranger = seldom(fc.constant({}), fc.constant({ isStranger: true }));

const usualHold = fc
  .record({ holdId, lifetimeMs })
  .map((row): Command => ({ verb: 'hold', ...row, ...USUAL[row.holdId]! }));
const otherHold = fc.record({
  verb: fc.constant('hold' as const),
  holdId,
  feature,
  amount: fc.integer({ min: 1, max: 20 }),
  lifetimeMs,
});
const badHold = fc
  .tuple(
    usualHold,
    fc.constantFrom(
      { isStranger: true },
      { feature: 'no_such_feature' },
      { holdId: 'not an id' },
      { holdId: JOB },
      { holdId: JOB, ...JOB_COSTS },
      { amount: 0 },
      { amount: -1 },
      { amount: Number.MAX_SAFE_INTEGER },
      { lifetimeMs: 0 },
      { lifetimeMs: 367 * 24 * 60 * MINUTE_MS },
      // Two faults: the first in the list of refusals is answered.
      { isStranger: true, feature: 'no_such_feature', amount: 0 },
      { holdId: 'not an id', amount: 0, lifetimeMs: 0 },
      { holdId: JOB, lifetimeMs: 0 },
    ),
  )
  .map(([row, fault]) => ({ ...row, ...fault }) as Command);
const hold = fc.oneof(
  { weight: 14, arbitrary: usualHold },
  { weight: 3, arbitrary: otherHold },
  { weight: 2, arbitrary: badHold },
);

const amount = fc.oneof(
  { weight: 5, arbitrary: fc.constant(null) },
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 3 }) },
  { weight: 3, arbitrary: fc.integer({ min: 4, max: 14 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -1, 60) },
);
/** Few, so that many are repeats. */
const stepKey = seldom(fc.constantFrom('k', 'l'), fc.constant(''));
/** A capture that ends its hold, or a part of it; seldom a last one under a key, or a part without one. */
const part = fc.oneof(
  { weight: 10, arbitrary: fc.constant({}) },
  { weight: 8, arbitrary: stepKey.map((key) => ({ key, isLast: false })) },
  { weight: 3, arbitrary: stepKey.map((key) => ({ key })) },
  { weight: 1, arbitrary: fc.constant({ isLast: false }) },
);
const capture = fc
  .tuple(knownId, amount, part, isStranger)
  .map(([holdId, amount, part, who]): Command => ({ verb: 'capture', holdId, amount, ...part, ...who }));
/** All in one part, so that ends come upon holds that have nothing left. */
const lastTokens = fc
  .tuple(holdId, fc.constantFrom('k', 'l'))
  .map(([holdId, key]): Command => ({ verb: 'capture', holdId, amount: null, key, isLast: false }));
const release = fc.tuple(knownId, isStranger).map(([holdId, who]): Command => ({ verb: 'release', holdId, ...who }));
const extend = fc
  .tuple(knownId, seldom(lifetimeMs, fc.constantFrom(0, 367 * 24 * 60 * MINUTE_MS)), isStranger)
  .map(([holdId, lifetimeMs, who]): Command => ({ verb: 'extend', holdId, lifetimeMs, ...who }));
const grow = fc
  .tuple(knownId, stepKey, seldom(fc.constantFrom(2, 2, 7), fc.constantFrom(0, 60)), isStranger)
  .map(([holdId, key, amount, who]): Command => ({ verb: 'grow', holdId, key, amount, ...who }));

const chargeId = fc.oneof(
  { weight: 20, arbitrary: fc.tuple(knownId, fc.constantFrom(1, 1, 1, 2, 2, 3)).map(([id, n]) => `${id}.${n}`) },
  { weight: 1, arbitrary: fc.constantFrom('a', 'a.0', 'a.01', '.1', 'a.1.1') },
);
const refundAmount = fc.oneof(
  { weight: 3, arbitrary: fc.constant(null) },
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 6 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, -1, 60) },
);
const refund = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(chargeId, refundAmount, fc.nat(), isStranger)
      .map(([chargeId, amount, n, who]): Command => ({ verb: 'refund', chargeId, amount, key: `r${n}`, ...who })),
  },
  // Under one key, so that it is asked for again.
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('a', 'b'), seldom(fc.constant(2), refundAmount))
      .map(([id, amount]): Command => ({ verb: 'refund', chargeId: `${id}.1`, amount, key: `usual-${id}` })),
  },
);

const adjust = fc.record({
  verb: fc.constant('adjust' as const),
  tokenType,
  change: seldom(fc.integer({ min: -30, max: 20 }), fc.constant(-1_000)),
});
const grant = fc.record({
  verb: fc.constant('grant' as const),
  tokenType,
  amount: fc.integer({ min: 1, max: 30 }),
  priority: fc.constantFrom(50, 100, 100, 200),
  isPaid: fc.boolean(),
  lifetimeMs: fc.constantFrom(...GRANT_LIFETIMES_MS),
});
const look = fc.record({ verb: fc.constant('look' as const), tokenType });
const inspect = fc.record({ verb: fc.constant('inspect' as const), tokenType });

/** One row more often than several; what concerns no hold is never in company. */
const several = (row: fc.Arbitrary<Command>) =>
  fc.oneof(
    { weight: 2, arbitrary: alone(row) },
    { weight: 1, arbitrary: fc.array(row, { minLength: 1, maxLength: 5 }) },
  );
const alone = (row: fc.Arbitrary<Command>) => row.map((one) => [one]);
const rows: fc.Arbitrary<Command[]> = fc.oneof(
  { weight: 8, arbitrary: several(hold) },
  { weight: 5, arbitrary: several(capture) },
  { weight: 2, arbitrary: several(release) },
  { weight: 1, arbitrary: alone(lastTokens) },
  { weight: 2, arbitrary: several(extend) },
  { weight: 2, arbitrary: several(grow) },
  { weight: 3, arbitrary: alone(refund) },
  { weight: 2, arbitrary: alone(look) },
  { weight: 1, arbitrary: alone(inspect) },
  { weight: 1, arbitrary: alone(adjust) },
  { weight: 1, arbitrary: alone(grant) },
);

const job: Command = { verb: 'hold', holdId: JOB, isOfJob: true, lifetimeMs: HOLD_LIFETIMES_MS[1]!, ...JOB_COSTS };
const setup = fc.array(grant, { minLength: 1, maxLength: 4 });
/** A plan without the features: whatever was granted, every hold is refused. */
const plan = fc.oneof(
  { weight: 30, arbitrary: fc.constant('pro' as const) },
  { weight: 1, arbitrary: fc.constant('starter' as const) },
);
const elapseMs = fc.oneof(
  { weight: 3, arbitrary: fc.constant(0) },
  { weight: 2, arbitrary: fc.constantFrom(...ELAPSES_MS) },
);

const settings = fc.record({
  aboveHold: fc.constantFrom('refuse', 'cap', 'draw'),
  fallbacks: fc.constant({}),
  limits: fc.oneof(
    { weight: 3, arbitrary: fc.constant({}) },
    { weight: 1, arbitrary: fc.constantFrom(20, 45).map((lead_generation) => ({ lead_generation })) },
  ),
});

/** Something to end, so that not most ends are of holds that nobody has placed. */
const opening = fc
  .array(usualHold, { minLength: 1, maxLength: 5 })
  .map((rows): Round => ({ elapseMs: 0, callers: [[{ rows, isCut: false }]] }));

function scheduleOf(
  round: fc.Arbitrary<Round>,
  maxRounds: number,
  isGathered: fc.Arbitrary<boolean>,
): fc.Arbitrary<Schedule> {
  const rounds = fc.array(round, { maxLength: maxRounds, size: 'max' });
  return fc
    .record({ plan, settings, isGathered, setup, opening, rounds })
    .map(({ plan, settings, isGathered, setup, opening, rounds }) => ({
      plan,
      settings,
      isGathered,
      setup: plan === 'pro' ? [job, ...setup] : setup,
      rounds: withinPeriod([opening, ...rounds]),
    }));
}

function withinPeriod(rounds: readonly Round[]): Round[] {
  let total = 0;
  return rounds.map((round) => {
    const elapseMs = total + round.elapseMs > LONGEST_MS ? 0 : round.elapseMs;
    total += elapseMs;
    return { ...round, elapseMs };
  });
}

/** Each of the two features that are asked for may be paid with the other's tokens. */
export const POOLED = {
  generate_leads: ['goal_generation'],
  generate_goal: ['lead_generation'],
} as const satisfies Settings['fallbacks'];

export function pooled(schedules: fc.Arbitrary<Schedule>): fc.Arbitrary<Schedule> {
  return schedules.map((schedule) => ({ ...schedule, settings: { ...schedule.settings, fallbacks: POOLED } }));
}

const oneInThree = fc.integer({ min: 0, max: 2 }).map((n) => n === 0);

export const oneCaller: fc.Arbitrary<Schedule> = scheduleOf(
  fc.record({
    elapseMs,
    callers: fc.tuple(
      fc.array(fc.record({ rows, isCut: fc.constant(false) }), { minLength: 1, maxLength: 4, size: 'max' }),
    ),
  }),
  8,
  // What one process gathers is in flight together.
  fc.constant(false),
);

export const manyCallers: fc.Arbitrary<Schedule> = scheduleOf(
  callersAtOnce({ minLength: 1, maxLength: 6 }),
  4,
  oneInThree,
);

/** All at one or two balances. */
export const crowd: fc.Arbitrary<Schedule> = scheduleOf(callersAtOnce({ minLength: 8, maxLength: 12 }), 2, oneInThree);

function callersAtOnce(howMany: { minLength: number; maxLength: number }): fc.Arbitrary<Round> {
  const call = fc.record({ rows, isCut: seldom(fc.constant(false), fc.constant(true)) });
  const caller = fc.array(call, { minLength: 1, maxLength: 3, size: 'max' });
  return fc.record({ elapseMs, callers: fc.array(caller, { ...howMany, size: 'max' }) });
}

function seldom<T, U>(usually: fc.Arbitrary<T>, seldom: fc.Arbitrary<U>): fc.Arbitrary<T | U> {
  return fc.oneof({ weight: 30, arbitrary: usually }, { weight: 1, arbitrary: seldom });
}
