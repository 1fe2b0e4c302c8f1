import type { Feature, TokenType } from '../../domain/catalog.ts';
import { type Answer, type Command, decide, type Ending, type Ledger, newLedger } from './ledger.ts';
import type { RecordedCall } from './ledgerHistory.ts';

/** What a broken ledger would have shown its callers, and beside it what a sound one could. */
export interface BrokenHistory {
  name: string;
  /** A new organization on plan pro, 50 tokens of lead_generation and 20 of goal_generation, unless said. */
  initial?: Ledger;
  broken: RecordedCall[];
  repaired: RecordedCall[];
}

const LEADS = 'lead_generation';
const HOUR_MS = 3_600_000;

/** A call and its answer, and the moments of its start and end. */
const did = (start: number, end: number, row: Command, answer: Answer): RecordedCall => ({
  rows: [row],
  start,
  end,
  answers: [answer],
});
const together = (start: number, end: number, ...pairs: [Command, Answer][]): RecordedCall => ({
  rows: pairs.map(([row]) => row),
  start,
  end,
  answers: pairs.map(([, answer]) => answer),
});
const lost = (start: number, row: Command): RecordedCall => ({ rows: [row], start, end: null, answers: null });

const hold = (holdId: string, amount: number, feature: Feature = 'generate_leads'): Command => ({
  verb: 'hold',
  holdId,
  feature,
  amount,
  lifetimeMs: HOUR_MS,
});
const placed = (available: number, tokenType: TokenType = LEADS): Answer => ({
  outcome: 'held',
  isRepeat: false,
  tokenType,
  available,
});
const placedBefore = (available: number): Answer => ({ outcome: 'held', isRepeat: true, tokenType: LEADS, available });
const refused = (available: number): Answer => ({
  outcome: 'tokens_insufficient',
  isRepeat: false,
  tokenType: LEADS,
  available,
});
const taken = (available: number, tokenType: TokenType = LEADS): Answer => ({
  outcome: 'id_reused',
  isRepeat: false,
  tokenType,
  available,
});

const capture = (holdId: string, amount: number | null = null): Command => ({ verb: 'capture', holdId, amount });
const release = (holdId: string): Command => ({ verb: 'release', holdId });
/** What was charged is charge 1, but for what a refusal says: that is no charge of its own. */
const ended = (outcome: Ending['outcome'], captured: number, returned: number, isRepeat = false): Answer => {
  const isDone = outcome === 'captured' || outcome === 'released' || outcome === 'lapsed';
  const chargeId = isDone && captured > 0 ? 'a.1' : null;
  return { outcome, isRepeat, chargeId, captured: isDone ? captured : 0, returned, capturedInAll: captured };
};
const refund = (amount: number, key: string): Command => ({ verb: 'refund', chargeId: 'a.1', amount, key });
const refunded = (inAll: number, available: number, amount = 15): Answer => ({
  outcome: amount === 0 ? 'amount_above_charge' : 'refunded',
  isRepeat: false,
  refunded: amount,
  refundedInAll: inAll,
  charged: 20,
  available,
});
const grow = (key: string, amount: number): Command => ({ verb: 'grow', holdId: 'a', key, amount });
const grown = (amount: number, available: number, isRepeat = false): Answer => ({
  outcome: 'grown',
  isRepeat,
  amount,
  available,
});
const look: Command = { verb: 'look', tokenType: LEADS };
const sees = (available: number): Answer => ({ available });
const inspect: Command = { verb: 'inspect', tokenType: LEADS };
const finds = (available: number, held: number, grants: number[]): Answer => ({ available, held, grants });
const raise = (change: number): Command => ({ verb: 'adjust', tokenType: LEADS, change });
const wait = (start: number, end: number, durationMs: number): RecordedCall =>
  did(start, end, { verb: 'elapse', durationMs }, { outcome: 'elapsed' });

/** 10 tokens that burn before the 50 of the allowance. */
const withUrgentGrant = decide(newLedger('pro'), [
  { verb: 'grant', tokenType: LEADS, amount: 10, priority: 50, isPaid: false, lifetimeMs: null },
]).ledger;

export const BROKEN_HISTORIES: BrokenHistory[] = [
  {
    name: 'lost update: two holds each take from the same 50',
    broken: [did(1, 3, hold('a', 20), placed(30)), did(2, 4, hold('b', 20), placed(30))],
    repaired: [did(1, 3, hold('a', 20), placed(10)), did(2, 4, hold('b', 20), placed(30))],
  },
  {
    name: 'lost update: one of two adjustments is overwritten',
    broken: [
      did(1, 3, raise(10), { outcome: 'adjusted' }),
      did(2, 4, raise(10), { outcome: 'adjusted' }),
      did(5, 6, look, sees(60)),
    ],
    repaired: [
      did(1, 3, raise(10), { outcome: 'adjusted' }),
      did(2, 4, raise(10), { outcome: 'adjusted' }),
      did(5, 6, look, sees(70)),
    ],
  },
  {
    name: 'admitted above the balance',
    broken: [did(1, 3, hold('a', 30), placed(20)), did(2, 4, hold('b', 30), placed(-10))],
    repaired: [did(1, 3, hold('a', 30), placed(20)), did(2, 4, hold('b', 30), refused(20))],
  },
  {
    name: 'false refusal while tokens are there',
    broken: [did(1, 3, hold('a', 20), placed(30)), did(2, 4, hold('b', 25), refused(30))],
    repaired: [did(1, 3, hold('a', 20), placed(5)), did(2, 4, hold('b', 25), placed(25))],
  },
  {
    name: 'false refusal after the tokens had come back',
    broken: [
      did(1, 2, hold('a', 50), placed(0)),
      did(3, 4, release('a'), ended('released', 0, 50)),
      did(5, 6, hold('b', 50), refused(0)),
    ],
    // The release was still in flight, so the hold may have come first.
    repaired: [
      did(1, 2, hold('a', 50), placed(0)),
      did(3, 6, release('a'), ended('released', 0, 50)),
      did(4, 5, hold('b', 50), refused(0)),
    ],
  },
  {
    name: 'stale read of what is available',
    broken: [did(1, 2, hold('a', 20), placed(30)), did(3, 4, look, sees(50))],
    repaired: [did(1, 3, hold('a', 20), placed(30)), did(2, 4, look, sees(50))],
  },
  {
    name: 'stale read after a lapse',
    broken: [did(1, 2, hold('a', 20), placed(30)), wait(3, 4, 2 * HOUR_MS), did(5, 6, look, sees(30))],
    repaired: [did(1, 2, hold('a', 20), placed(30)), wait(3, 4, 2 * HOUR_MS), did(5, 6, look, sees(50))],
  },
  {
    name: 'a read of what has not begun',
    broken: [did(1, 2, look, sees(30)), did(3, 4, hold('a', 20), placed(30))],
    repaired: [did(1, 3, look, sees(30)), did(2, 4, hold('a', 20), placed(30))],
  },
  {
    name: 'two reads that go back in time',
    broken: [did(1, 6, hold('a', 20), placed(30)), did(2, 3, look, sees(30)), did(4, 5, look, sees(50))],
    repaired: [did(1, 6, hold('a', 20), placed(30)), did(2, 3, look, sees(50)), did(4, 5, look, sees(30))],
  },
  {
    name: 'two readers who saw two holds in opposite orders',
    broken: [
      did(1, 7, hold('a', 10), placed(40)),
      did(2, 8, hold('b', 20), placed(20)),
      did(3, 5, look, sees(40)),
      did(4, 6, look, sees(30)),
    ],
    repaired: [
      did(1, 7, hold('a', 10), placed(40)),
      did(2, 8, hold('b', 20), placed(20)),
      did(3, 5, look, sees(40)),
      did(4, 6, look, sees(20)),
    ],
  },
  {
    name: 'a call that took effect before one that had ended when it began',
    broken: [did(1, 2, hold('a', 30), placed(10)), did(3, 4, hold('b', 10), placed(40))],
    repaired: [did(1, 3, hold('a', 30), placed(10)), did(2, 4, hold('b', 10), placed(40))],
  },
  {
    name: "two winners of one hold's end: captured and released",
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, capture('a'), ended('captured', 20, 0)),
      did(4, 6, release('a'), ended('released', 0, 20)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, capture('a'), ended('captured', 20, 0)),
      did(4, 6, release('a'), ended('hold_captured', 20, 0)),
    ],
  },
  {
    name: "two winners of one hold's end: captured twice",
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, capture('a'), ended('captured', 20, 0)),
      did(4, 6, capture('a'), ended('captured', 20, 0)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, capture('a'), ended('captured', 20, 0)),
      did(4, 6, capture('a'), ended('captured', 20, 0, true)),
    ],
  },
  {
    name: 'double charge: the repeat of a capture takes from the balance again',
    broken: [
      did(1, 2, hold('a', 10), placed(40)),
      did(3, 4, capture('a'), ended('captured', 10, 0)),
      did(5, 6, capture('a'), ended('captured', 10, 0, true)),
      did(7, 8, look, sees(30)),
    ],
    repaired: [
      did(1, 2, hold('a', 10), placed(40)),
      did(3, 4, capture('a'), ended('captured', 10, 0)),
      did(5, 6, capture('a'), ended('captured', 10, 0, true)),
      did(7, 8, look, sees(40)),
    ],
  },
  {
    name: 'charged for nothing: a captured hold is given back as well',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a'), ended('captured', 20, 0)),
      did(5, 6, look, sees(50)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a'), ended('captured', 20, 0)),
      did(5, 6, look, sees(30)),
    ],
  },
  {
    name: 'the rest of a partly charged hold is lost',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a', 7), ended('captured', 7, 13)),
      did(5, 6, look, sees(30)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a', 7), ended('captured', 7, 13)),
      did(5, 6, look, sees(43)),
    ],
  },
  {
    name: 'a hold is given back twice',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, release('a'), ended('released', 0, 20)),
      did(4, 6, release('a'), ended('released', 0, 20, true)),
      did(7, 8, look, sees(70)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, release('a'), ended('released', 0, 20)),
      did(4, 6, release('a'), ended('released', 0, 20, true)),
      did(7, 8, look, sees(50)),
    ],
  },
  {
    name: 'a repeat answered differently: the hold is placed anew',
    broken: [did(1, 2, hold('a', 5), placed(45)), did(3, 4, hold('a', 5), placed(40))],
    repaired: [did(1, 2, hold('a', 5), placed(45)), did(3, 4, hold('a', 5), placedBefore(45))],
  },
  {
    name: 'a repeat answered differently: another amount than was charged',
    broken: [
      did(1, 2, hold('a', 5), placed(45)),
      did(3, 4, capture('a', 3), ended('captured', 3, 2)),
      did(5, 6, capture('a', 3), ended('captured', 4, 1, true)),
    ],
    repaired: [
      did(1, 2, hold('a', 5), placed(45)),
      did(3, 4, capture('a', 3), ended('captured', 3, 2)),
      did(5, 6, capture('a', 3), ended('captured', 3, 2, true)),
    ],
  },
  {
    name: 'another request under a known id passes for its repeat',
    broken: [did(1, 2, hold('a', 5), placed(45)), did(3, 4, hold('a', 6), placedBefore(45))],
    repaired: [did(1, 2, hold('a', 5), placed(45)), did(3, 4, hold('a', 6), taken(45))],
  },
  {
    name: 'one id is placed on two token types at once',
    broken: [
      did(1, 3, hold('a', 5), placed(45)),
      did(2, 4, hold('a', 5, 'generate_goal'), placed(15, 'goal_generation')),
    ],
    repaired: [
      did(1, 3, hold('a', 5), placed(45)),
      did(2, 4, hold('a', 5, 'generate_goal'), taken(20, 'goal_generation')),
    ],
  },
  {
    name: 'a lost answer that took effect twice',
    broken: [lost(1, hold('a', 20)), did(2, 3, look, sees(10))],
    repaired: [lost(1, hold('a', 20)), did(2, 3, look, sees(30))],
  },
  {
    name: 'a lost answer whose effect is there and then gone',
    broken: [lost(1, hold('a', 20)), did(2, 3, look, sees(30)), did(4, 5, look, sees(50))],
    repaired: [lost(1, hold('a', 20)), did(2, 3, look, sees(50)), did(4, 5, look, sees(30))],
  },
  {
    name: 'a lost answer that took effect before its call',
    broken: [did(1, 2, look, sees(30)), lost(3, hold('a', 20))],
    repaired: [lost(1, hold('a', 20)), did(2, 3, look, sees(30))],
  },
  {
    name: 'a lost answer is asked for again, and what had taken effect is done anew',
    broken: [lost(1, hold('a', 20)), did(2, 3, look, sees(30)), did(4, 5, hold('a', 20), placed(10))],
    repaired: [lost(1, hold('a', 20)), did(2, 3, look, sees(30)), did(4, 5, hold('a', 20), placedBefore(30))],
  },
  {
    name: 'a lost answer is asked for again, and what had not taken effect passes for a repeat',
    broken: [lost(1, hold('a', 20)), did(2, 3, hold('a', 20), placedBefore(50))],
    repaired: [lost(1, hold('a', 20)), did(2, 3, hold('a', 20), placed(30)), did(4, 5, look, sees(30))],
  },
  {
    name: 'a lost capture charges, and the hold is released all the same',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      lost(3, capture('a')),
      did(4, 5, release('a'), ended('released', 0, 20)),
      did(6, 7, look, sees(30)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      lost(3, capture('a')),
      did(4, 5, release('a'), ended('released', 0, 20)),
      did(6, 7, look, sees(50)),
    ],
  },
  {
    name: 'an acknowledged hold is forgotten',
    broken: [did(1, 2, hold('a', 20), placed(30)), did(3, 4, capture('a'), ended('hold_unknown', 0, 0))],
    repaired: [did(1, 3, hold('a', 20), placed(30)), did(2, 4, capture('a'), ended('hold_unknown', 0, 0))],
  },
  {
    name: 'a lapsed hold is charged',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      wait(3, 4, 2 * HOUR_MS),
      did(5, 6, capture('a'), ended('captured', 20, 0)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      wait(3, 4, 2 * HOUR_MS),
      did(5, 6, capture('a'), ended('hold_lapsed', 0, 20)),
    ],
  },
  {
    name: 'a hold lapses before its time',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      wait(3, 4, HOUR_MS / 2),
      did(5, 6, capture('a'), ended('hold_lapsed', 0, 20)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      wait(3, 4, HOUR_MS / 2),
      did(5, 6, capture('a'), ended('captured', 20, 0)),
    ],
  },
  {
    name: 'more is charged than is held',
    broken: [did(1, 2, hold('a', 5), placed(45)), did(3, 4, capture('a', 6), ended('captured', 6, -1))],
    repaired: [did(1, 2, hold('a', 5), placed(45)), did(3, 4, capture('a', 6), ended('amount_above_hold', 0, 0))],
  },
  {
    name: 'a torn batch: a reader sees one of its holds without the other',
    broken: [
      together(1, 4, [hold('a', 30), placed(20)], [hold('b', 20), placed(0)]),
      did(2, 3, look, sees(20)),
      did(5, 6, look, sees(0)),
    ],
    repaired: [
      together(1, 4, [hold('a', 30), placed(20)], [hold('b', 20), placed(0)]),
      did(2, 3, look, sees(50)),
      did(5, 6, look, sees(0)),
    ],
  },
  {
    name: 'one large row of a batch takes its small neighbour with it',
    broken: [together(1, 2, [hold('a', 30), placed(20)], [hold('b', 30), refused(20)], [hold('c', 15), refused(20)])],
    repaired: [together(1, 2, [hold('a', 30), placed(20)], [hold('b', 30), refused(20)], [hold('c', 15), placed(5)])],
  },
  {
    name: 'one id twice in a batch is placed twice',
    broken: [together(1, 2, [hold('a', 5), placed(45)], [hold('a', 5), placed(40)])],
    repaired: [together(1, 2, [hold('a', 5), placed(45)], [hold('a', 5), placedBefore(45)])],
  },
  {
    name: 'tokens are taken in the wrong order',
    initial: withUrgentGrant,
    broken: [did(1, 2, hold('a', 15), placed(45)), did(3, 4, inspect, finds(45, 15, [35, 10]))],
    repaired: [did(1, 2, hold('a', 15), placed(45)), did(3, 4, inspect, finds(45, 15, [45, 0]))],
  },
  {
    name: 'the rest goes back to the wrong grant',
    initial: withUrgentGrant,
    broken: [
      did(1, 2, hold('a', 15), placed(45)),
      did(3, 4, capture('a', 11), ended('captured', 11, 4)),
      did(5, 6, inspect, finds(49, 0, [45, 4])),
    ],
    repaired: [
      did(1, 2, hold('a', 15), placed(45)),
      did(3, 4, capture('a', 11), ended('captured', 11, 4)),
      did(5, 6, inspect, finds(49, 0, [49, 0])),
    ],
  },
  {
    name: 'a grant that is over can still be spent',
    initial: decide(newLedger('pro'), [
      { verb: 'grant', tokenType: LEADS, amount: 10, priority: 100, isPaid: true, lifetimeMs: HOUR_MS },
    ]).ledger,
    broken: [wait(1, 2, 2 * HOUR_MS), did(3, 4, hold('a', 60), placed(0))],
    repaired: [wait(1, 2, 2 * HOUR_MS), did(3, 4, hold('a', 60), refused(50))],
  },
  {
    name: 'a charge is refunded twice',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a'), ended('captured', 20, 0)),
      did(5, 7, refund(15, 'k'), refunded(15, 45)),
      did(6, 8, refund(15, 'l'), refunded(30, 60)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a'), ended('captured', 20, 0)),
      did(5, 7, refund(15, 'k'), refunded(15, 45)),
      did(6, 8, refund(15, 'l'), refunded(15, 45, 0)),
    ],
  },
  {
    name: 'a refund under one key gives back twice',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a'), ended('captured', 20, 0)),
      did(5, 7, refund(5, 'k'), refunded(5, 35, 5)),
      did(6, 8, refund(5, 'k'), refunded(10, 40, 5)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, capture('a'), ended('captured', 20, 0)),
      did(5, 7, refund(5, 'k'), refunded(5, 35, 5)),
      did(6, 8, refund(5, 'l'), refunded(10, 40, 5)),
    ],
  },
  {
    name: 'a hold grows twice under one key',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, grow('k', 10), grown(30, 20)),
      did(4, 6, grow('k', 10), grown(40, 10)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 5, grow('k', 10), grown(30, 20)),
      did(4, 6, grow('k', 10), grown(30, 20, true)),
    ],
  },
  {
    name: 'an extended hold lapses at its first end',
    broken: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, { verb: 'extend', holdId: 'a', lifetimeMs: 3 * HOUR_MS }, { outcome: 'extended' }),
      wait(5, 6, 2 * HOUR_MS),
      did(7, 8, look, sees(50)),
    ],
    repaired: [
      did(1, 2, hold('a', 20), placed(30)),
      did(3, 4, { verb: 'extend', holdId: 'a', lifetimeMs: 3 * HOUR_MS }, { outcome: 'extended' }),
      wait(5, 6, 2 * HOUR_MS),
      did(7, 8, look, sees(30)),
    ],
  },
];
