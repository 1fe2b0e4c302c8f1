import { describe, expect, it } from 'vitest';
import { HOLD_END_REFUSALS, HOLD_REFUSALS } from '../../domain/refusals.ts';
import { type Answer, type Command, decide, type Ledger, newLedger } from './ledger.ts';

/** The model says what is right, so its own rules are told here one by one, with the figures of plan pro: 50 lead tokens. */
const LEADS = 'lead_generation';
const HOUR_MS = 3_600_000;

function played(ledger: Ledger, ...rows: Command[]): { ledger: Ledger; answers: Answer[] } {
  const answers: Answer[] = [];
  let now = ledger;
  for (const row of rows) {
    const { ledger: next, answers: given } = decide(now, [row]);
    answers.push(...given);
    now = next;
  }
  return { ledger: now, answers };
}
const outcomes = (ledger: Ledger, ...rows: Command[]) =>
  played(ledger, ...rows).answers.map((answer) => ('outcome' in answer ? answer.outcome : answer));

const hold = (holdId: string, amount: number, lifetimeMs = HOUR_MS): Command => ({
  verb: 'hold',
  holdId,
  feature: 'generate_leads',
  amount,
  lifetimeMs,
});
/** With a key: one that leaves the hold open. */
const capture = (holdId: string, amount: number | null = null, key?: string): Command => ({
  verb: 'capture',
  holdId,
  amount,
  ...(key === undefined ? {} : { key, isLast: false }),
});
const release = (holdId: string): Command => ({ verb: 'release', holdId });
const grow = (holdId: string, key: string, amount: number): Command => ({ verb: 'grow', holdId, key, amount });
const refund = (chargeId: string, amount: number | null, key = `${chargeId} ${amount}`): Command => ({
  verb: 'refund',
  chargeId,
  amount,
  key,
});
const grant = (amount: number, priority: number, isPaid: boolean, lifetimeMs: number | null): Command => ({
  verb: 'grant',
  tokenType: LEADS,
  amount,
  priority,
  isPaid,
  lifetimeMs,
});
const elapse = (durationMs: number): Command => ({ verb: 'elapse', durationMs });
const inspect: Command = { verb: 'inspect', tokenType: LEADS };
const pro = newLedger('pro');

describe('refusals', () => {
  const holds: [string, Ledger, Command[]][] = [
    ['not_a_member', pro, [{ ...hold('', 0), isStranger: true } as Command]],
    ['feature_unknown', pro, [{ ...hold('', 0), feature: 'x' } as unknown as Command]],
    ['id_invalid', pro, [hold('not an id', 0)]],
    ['amount_invalid', pro, [hold('a', 0, 0)]],
    ['lifetime_invalid', pro, [hold('a', 60, 0)]],
    ['id_reused', pro, [hold('a', 5), hold('a', 60)]],
    ['feature_not_available', newLedger('starter'), [hold('a', 60)]],
    ['limit_reached', newLedger('pro', { limits: { [LEADS]: 20 } }), [hold('a', 60)]],
    ['tokens_insufficient', pro, [hold('a', 60)]],
  ];
  const ends: [string, Ledger, Command[]][] = [
    ['not_a_member', pro, [{ verb: 'release', holdId: 'a', isStranger: true }]],
    ['hold_unknown', pro, [capture('a', 0)]],
    ['hold_of_a_job', pro, [{ ...hold('a', 5), isOfJob: true } as Command, capture('a', 0)]],
    ['hold_captured', pro, [hold('a', 5), capture('a', 3), capture('a', 0)]],
    ['hold_released', pro, [hold('a', 5), release('a'), capture('a', 0)]],
    ['hold_lapsed', pro, [hold('a', 5), elapse(HOUR_MS), capture('a', 0)]],
    ['key_reused', pro, [hold('a', 5), capture('a', 3, 'k'), release('a'), capture('a', 0, 'k')]],
    ['amount_invalid', pro, [hold('a', 5), capture('a', 0, '')]],
    ['key_invalid', pro, [hold('a', 5), capture('a', 6, '')]],
    ['amount_above_hold', pro, [hold('a', 5), capture('a', 6)]],
    [
      'limit_reached',
      newLedger('pro', { aboveHold: 'draw', limits: { [LEADS]: 20 } }),
      [hold('a', 5), capture('a', 60)],
    ],
    ['tokens_insufficient', newLedger('pro', { aboveHold: 'draw' }), [hold('a', 5), capture('a', 60)]],
  ];
  it.each([...holds, ...ends])('%s', (refusal, ledger, rows) => {
    expect(outcomes(ledger, ...rows).at(-1)).toBe(refusal);
  });
  it('every refusal of the closed lists is decided, but for an organization that does not exist, is suspended or capped', () => {
    const names = (cases: typeof holds) => cases.map(([refusal]) => refusal);
    const elsewhere = ['organization_unknown', 'organization_suspended', 'too_many_holds'];
    expect([...names(holds), ...elsewhere].toSorted()).toEqual([...HOLD_REFUSALS].toSorted());
    expect(names(ends).toSorted()).toEqual([...HOLD_END_REFUSALS].toSorted());
  });
});

it('grants burn by priority, soonest expiry, free before paid, oldest; the rest goes back to the ones burnt last', () => {
  const { ledger } = played(
    pro,
    grant(1, 100, true, null),
    grant(2, 100, false, null),
    grant(4, 100, false, HOUR_MS),
    grant(8, 50, true, null),
  );
  const left = (...rows: Command[]) => played(ledger, ...rows, inspect).answers.at(-1);
  expect(left(hold('a', 9))).toEqual({ available: 56, held: 9, grants: [50, 1, 2, 3, 0] });
  expect(left(hold('a', 63))).toEqual({ available: 2, held: 63, grants: [0, 1, 1, 0, 0] });
  expect(left(hold('a', 63), capture('a', 10))).toEqual({ available: 55, held: 0, grants: [50, 1, 2, 2, 0] });
});

it('a limit counts what is held or charged, and not what came back', () => {
  const rows = [hold('a', 20), release('a'), hold('b', 15), capture('b', 10), hold('c', 11), hold('d', 10)];
  const { answers } = played(newLedger('pro', { limits: { [LEADS]: 20 } }), ...rows, refund('b.1', 4), hold('e', 4));
  expect(answers.map((answer) => 'outcome' in answer && answer.outcome)).toEqual([
    'held',
    'released',
    'held',
    'captured',
    'limit_reached',
    'held',
    'refunded',
    'held',
  ]);
});

it('of a batch of captures the plain ones come first: what they give back can be drawn', () => {
  const { ledger } = played(newLedger('pro', { aboveHold: 'draw' }), hold('a', 10), hold('b', 40));
  const { answers } = decide(ledger, [capture('a', 20), capture('b', 30)]);
  expect(answers).toMatchObject([{ outcome: 'captured', captured: 20 }, { outcome: 'captured' }]);
});

it('what comes back to a grant that is over: the plan’s stays expired, other tokens live on for seven days', () => {
  const { ledger } = played(pro, grant(10, 50, false, HOUR_MS), hold('a', 10, 3 * HOUR_MS), elapse(2 * HOUR_MS));
  const left = (...rows: Command[]) => played(ledger, ...rows, inspect).answers.at(-1);
  expect(left()).toEqual({ available: 50, held: 10, grants: [50, 0] });
  expect(left(release('a'))).toEqual({ available: 60, held: 0, grants: [50, 10] });
  expect(left(release('a'), elapse(167 * HOUR_MS))).toEqual({ available: 60, held: 0, grants: [50, 10] });
  expect(left(release('a'), elapse(169 * HOUR_MS))).toEqual({ available: 50, held: 0, grants: [50, 0] });
  expect(
    left(elapse(20 * 24 * HOUR_MS), hold('b', 50, 20 * 24 * HOUR_MS), elapse(10 * 24 * HOUR_MS), release('b')),
  ).toEqual({
    available: 0,
    held: 0,
    grants: [0, 0],
  });
});

it('a hold grows once per key, and its parts are charged in the order taken', () => {
  const { ledger, answers } = played(pro, hold('a', 10), grow('a', 'k', 5), grow('a', 'k', 5), grow('a', 'k', 6));
  expect(answers.map((answer) => 'outcome' in answer && answer.outcome)).toEqual([
    'held',
    'grown',
    'grown',
    'key_reused',
  ]);
  expect(played(ledger, inspect).answers).toEqual([{ available: 35, held: 15, grants: [35] }]);
  expect(outcomes(ledger, grow('a', 'l', 36), grow('a', 'l', 0))).toEqual(['tokens_insufficient', 'amount_invalid']);
});

it('partial captures leave the hold open; the last one gives the rest back', () => {
  const rows = [hold('a', 20), capture('a', 5, 'one'), capture('a', 5, 'one'), capture('a', 7, 'two'), capture('a', 3)];
  const { ledger, answers } = played(pro, ...rows, inspect);
  expect(answers.slice(1)).toEqual([
    { outcome: 'captured', isRepeat: false, chargeId: 'a.1', captured: 5, returned: 0, capturedInAll: 5 },
    { outcome: 'captured', isRepeat: true, chargeId: 'a.1', captured: 5, returned: 0, capturedInAll: 5 },
    { outcome: 'captured', isRepeat: false, chargeId: 'a.2', captured: 7, returned: 0, capturedInAll: 12 },
    { outcome: 'captured', isRepeat: false, chargeId: 'a.3', captured: 3, returned: 5, capturedInAll: 15 },
    { available: 35, held: 0, grants: [35] },
  ]);
  const again = outcomes(
    ledger,
    capture('a', 3),
    capture('a', 4),
    capture('a'),
    capture('a', 7, 'two'),
    capture('a', 8, 'two'),
  );
  expect(again).toEqual(['captured', 'hold_captured', 'hold_captured', 'captured', 'key_reused']);
});

it.each([
  ['refuse', 8, 'amount_above_hold', { available: 45, held: 5, grants: [45] }],
  ['cap', 8, 'captured', { available: 45, held: 0, grants: [45] }],
  ['draw', 8, 'captured', { available: 42, held: 0, grants: [42] }],
  ['draw', 51, 'tokens_insufficient', { available: 45, held: 5, grants: [45] }],
] as const)('policy %s: a capture of %i of 5 tokens held is %s', (aboveHold, amount, outcome, left) => {
  const { answers } = played(newLedger('pro', { aboveHold }), hold('a', 5), capture('a', amount), inspect);
  expect(answers[1]).toMatchObject({ outcome });
  expect(answers[2]).toEqual(left);
});

it('the repeat of a capture asks what the first one asked, also where less was charged', () => {
  const ledger = newLedger('pro', { aboveHold: 'cap' });
  const ends = (first: number | null, ...rest: (number | null)[]) =>
    outcomes(ledger, hold('a', 5), capture('a', first), ...rest.map((amount) => capture('a', amount))).slice(2);
  expect(ends(8, 8, 5, null)).toEqual(['captured', 'hold_captured', 'hold_captured']);
  expect(ends(null, null, 5, 4)).toEqual(['captured', 'captured', 'hold_captured']);
  expect(ends(5, null, 4)).toEqual(['captured', 'hold_captured']);
});

it('a refund under a known key is its repeat, whatever became of the charge', () => {
  const { ledger } = played(pro, hold('a', 15), capture('a'));
  const { answers } = played(ledger, refund('a.1', 7, 'k'), refund('a.1', 7, 'k'), refund('a.1', 8, 'k'), inspect);
  expect(answers.slice(0, 3)).toMatchObject([{ isRepeat: false }, { isRepeat: true }, { outcome: 'key_reused' }]);
  expect(answers[3]).toEqual({ available: 42, held: 0, grants: [42] });
});

it('a hold charged to the last token ends without a charge, and a repeat of that end is one', () => {
  const { answers } = played(pro, hold('a', 5), capture('a', 5, 'k'), capture('a'), capture('a'));
  const ended = { outcome: 'captured', chargeId: null, captured: 0, returned: 0, capturedInAll: 5 };
  expect(answers.slice(2)).toMatchObject([
    { ...ended, isRepeat: false },
    { ...ended, isRepeat: true },
  ]);
});

it('a charge is refunded up to its amount, to the grants that were burnt last', () => {
  const { ledger } = played(pro, grant(10, 50, false, null), hold('a', 15), capture('a'));
  const { answers } = played(ledger, refund('a.1', 7), inspect, refund('a.1', 9), refund('a.1', null), inspect);
  expect(answers).toMatchObject([
    { outcome: 'refunded', refunded: 7, refundedInAll: 7, charged: 15, available: 52 },
    { available: 52, grants: [50, 2] },
    { outcome: 'amount_above_charge' },
    { outcome: 'refunded', refunded: 8, refundedInAll: 15 },
    { available: 60, grants: [50, 10] },
  ]);
  expect(outcomes(ledger, refund('a.2', 1), refund('b.1', 1), refund('a.1', 0))).toEqual([
    'charge_unknown',
    'charge_unknown',
    'amount_invalid',
  ]);
});

it('pooled tokens: the whole hold is placed on the first type that bears it', () => {
  const ledger = newLedger('pro', { fallbacks: { generate_leads: ['goal_generation', 'strategy_analysis'] } });
  const { answers } = played(ledger, hold('a', 40), hold('b', 20), hold('c', 20), hold('d', 90));
  expect(answers).toMatchObject([
    { outcome: 'held', tokenType: LEADS },
    { outcome: 'held', tokenType: 'goal_generation' },
    { outcome: 'held', tokenType: 'strategy_analysis' },
    { outcome: 'tokens_insufficient', tokenType: LEADS },
  ]);
});
