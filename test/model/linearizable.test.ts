import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BROKEN_HISTORIES } from './brokenHistories.ts';
import { newLedger } from './ledger.ts';
import { findContradiction, NO_ORDER } from './ledgerHistory.ts';
import { explain, type Operation, type SequentialModel } from './linearizable.ts';

describe.each(BROKEN_HISTORIES)('$name', ({ initial = newLedger('pro'), broken, repaired }) => {
  it('is rejected', () => {
    expect(findContradiction(initial, broken).contradiction).toContain(NO_ORDER);
  });
  it('is accepted once it is repaired', () => {
    expect(findContradiction(initial, repaired)).toEqual({ contradiction: null, givenUp: 0 });
  });
});

it('there are at least 20 broken histories, each with a name of its own', () => {
  expect(new Set(BROKEN_HISTORIES.map(({ name }) => name)).size).toBeGreaterThanOrEqual(20);
});

/** The smallest object with an order: a call adds its number, and every call answers the sum. */
const sum: SequentialModel<number, number, number> = {
  initial: 0,
  next: (before, added) => ({ state: before + added, answer: before + added }),
  keyOf: String,
  isSame: Object.is,
};
type Adding = Operation<number, number>;
const add = (start: number, end: number, answer: number, call = 1): Adding => ({ call, start, end, answer });

describe('of a history that has no explanation', () => {
  it('the prefix ends with the first answer that nothing explains, and knows no later one', () => {
    const history = [
      add(1, 3, 1),
      add(2, 8, 3),
      add(4, 5, 2),
      // From here on 2 is answered twice.
      add(6, 7, 2),
      add(9, 10, 4),
    ];
    const verdict = explain(history, sum);
    expect(verdict).toEqual({
      isLinearizable: false,
      isCertain: true,
      prefix: [history[0], { ...history[1], end: null, answer: null }, history[2], history[3]],
    });
  });
});

it('agrees with trying every order, on random histories of up to five calls', () => {
  const calls = fc
    .array(
      fc.record({
        answer: fc.integer({ min: 0, max: 4 }),
        added: fc.integer({ min: 0, max: 2 }),
        isLost: fc.integer({ max: 4, min: 0 }).map((n) => n === 0),
      }),
      {
        minLength: 1,
        maxLength: 5,
      },
    )
    .chain((calls) =>
      fc.record({
        calls: fc.constant(calls),
        moments: fc.shuffledSubarray([...Array(2 * calls.length).keys()], { minLength: 2 * calls.length }),
      }),
    )
    .map(({ calls, moments }) =>
      calls.map(({ added, answer, isLost }, n): Adding => {
        const [start, end] = [moments[2 * n]!, moments[2 * n + 1]!].toSorted((a, b) => a - b) as [number, number];
        return isLost ? { call: added, start, end: null, answer: null } : add(start, end, answer, added);
      }),
    );
  const seen = { true: 0, false: 0 };
  fc.assert(
    fc.property(calls, (history) => {
      const { isLinearizable } = explain(history, sum);
      expect(isLinearizable).toBe(hasSomeOrder(history, 0));
      seen[`${isLinearizable}`] += 1;
    }),
    { numRuns: 3_000 },
  );
  expect(seen.true).toBeGreaterThan(100);
  expect(seen.false).toBeGreaterThan(100);
});

/** By the definition: some operation that no other precedes comes first and answers rightly, and so on; or only lost ones are left. */
function hasSomeOrder(left: readonly Adding[], before: number): boolean {
  if (left.every(({ end }) => end === null)) return true;
  return left.some(
    (one) =>
      left.every((other) => other.end === null || other.end > one.start) &&
      (one.answer === null || one.answer === before + one.call) &&
      hasSomeOrder(
        left.filter((other) => other !== one),
        before + one.call,
      ),
  );
}
