import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BROKEN_HISTORIES } from './brokenHistories.ts';
import { newLedger } from './ledger.ts';
import { findContradiction } from './ledgerHistory.ts';
import { explain, type Operation, type SequentialModel } from './linearizable.ts';

describe.each(BROKEN_HISTORIES)('$name', ({ initial = newLedger('pro'), broken, repaired }) => {
  it('is rejected', () => {
    expect(findContradiction(initial, broken)).not.toBeNull();
  });
  it('is accepted once it is repaired', () => {
    expect(findContradiction(initial, repaired)).toBeNull();
  });
});

it('there are at least 20 broken histories, each with a name of its own', () => {
  expect(new Set(BROKEN_HISTORIES.map(({ name }) => name)).size).toBeGreaterThanOrEqual(20);
});

/** The smallest object with an order: each call adds one and answers the count. */
const counter: SequentialModel<number, null, number> = {
  initial: 0,
  next: (count) => ({ state: count + 1, answer: count + 1 }),
  keyOf: String,
  isSame: Object.is,
};
type Count = Operation<null, number>;
const count = (start: number, end: number, answer: number): Count => ({ call: null, start, end, answer });

describe('of a history that has no explanation', () => {
  it('the prefix ends with the first answer that nothing explains, and knows no later one', () => {
    const history = [
      count(1, 3, 1),
      count(2, 8, 3),
      count(4, 5, 2),
      // From here on 2 is counted twice.
      count(6, 7, 2),
      count(9, 10, 4),
    ];
    const verdict = explain(history, counter);
    expect(verdict).toEqual({
      isLinearizable: false,
      prefix: [history[0], { ...history[1], end: null, answer: null }, history[2], history[3]],
    });
  });
});

it('agrees with trying every order, on random histories of up to five calls', () => {
  const calls = fc
    .array(
      fc.record({ answer: fc.integer({ min: 1, max: 4 }), isLost: fc.integer({ max: 4, min: 0 }).map((n) => n === 0) }),
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
      calls.map(({ answer, isLost }, n): Count => {
        const [start, end] = [moments[2 * n]!, moments[2 * n + 1]!].toSorted((a, b) => a - b) as [number, number];
        return isLost ? { call: null, start, end: null, answer: null } : { call: null, start, end, answer };
      }),
    );
  const seen = { true: 0, false: 0 };
  fc.assert(
    fc.property(calls, (history) => {
      const { isLinearizable } = explain(history, counter);
      expect(isLinearizable).toBe(hasSomeOrder(history, 0));
      seen[`${isLinearizable}`] += 1;
    }),
    { numRuns: 3_000 },
  );
  expect(seen.true).toBeGreaterThan(100);
  expect(seen.false).toBeGreaterThan(100);
});

/** By the definition: some operation that no other precedes comes first and answers rightly, and so on; or only lost ones are left. */
function hasSomeOrder(left: readonly Count[], before: number): boolean {
  if (left.every(({ end }) => end === null)) return true;
  return left.some(
    (one) =>
      left.every((other) => other.end === null || other.end > one.start) &&
      (one.answer === null || one.answer === before + 1) &&
      hasSomeOrder(
        left.filter((other) => other !== one),
        before + 1,
      ),
  );
}
