import { describe, expect, test } from 'vitest';
import { figureAlone, figureOf } from '../../bench/figure.ts';
import { interval95, median, percentile } from '../../bench/quantiles.ts';
import { inTurns } from '../../bench/rounds.ts';

const faster = (...ratios: number[]) => ratios.map((ratio) => ({ ours: ratio * 100, foil: 100 }));
const goal = { of: 'ratio', atLeast: 60 } as const;
const named = { id: 'x', title: 'x', unit: '/s' };

describe('a figure', () => {
  test('is the median of its rounds, with the lowest and the highest ratio', () => {
    const pairs = [
      { ours: 600, foil: 10 },
      { ours: 900, foil: 10 },
      { ours: 700, foil: 20 },
    ];
    expect(figureOf({ ...named, pairs, goal, isQuick: false })).toEqual({
      ...named,
      ...{ ours: 700, foil: 10, ratio: 60, spread: [35, 90], goal: '≥ 60x', met: true },
    });
  });

  test.each([
    { what: 'a whole run says so by the median', ratios: [50, 61, 70], isQuick: false, met: true },
    { what: 'a whole run says so by the median', ratios: [50, 59, 70], isQuick: false, met: false },
    { what: 'a quick run says so when all rounds do', ratios: [61, 65, 70], isQuick: true, met: true },
    { what: 'a quick run says so when all rounds do', ratios: [10, 20, 59], isQuick: true, met: false },
    { what: 'a quick run whose rounds disagree cannot tell', ratios: [50, 61, 70], isQuick: true, met: null },
  ])('meets its goal or not: $what: $ratios → $met', ({ ratios, isQuick, met }) => {
    expect(figureOf({ ...named, pairs: faster(...ratios), goal, isQuick }).met).toBe(met);
  });

  test('that must be 0 is not met by anything else', () => {
    const drift = { ...named, unit: 'tokens', goal: { of: 'ours', atMost: 0 } } as const;
    expect(figureAlone({ ...drift, ours: 0 })).toMatchObject({ goal: '0 tokens', met: true });
    expect(figureAlone({ ...drift, ours: 1 })).toMatchObject({ met: false });
  });
});

test('the 95 % interval of the median of fifteen lies between the fourth and the twelfth', () => {
  const values = Array.from({ length: 15 }, (_, n) => 15 - n);
  expect(median(values)).toBe(8);
  expect(interval95(values)).toEqual([4, 12]);
});

test('the median of few values may be any of them', () => {
  expect(interval95([3, 1, 2])).toEqual([1, 3]);
});

test.each([
  [50, 5],
  [99, 10],
  [100, 10],
  [0, 1],
])('the %s. percentile of one to ten is %s', (percent, value) => {
  expect(percentile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], percent)).toBe(value);
});

test('both sides are measured in every round, and begin it by turns', async () => {
  const order: string[] = [];
  await inTurns(
    3,
    async (side, round) => order.push(`${round} ${side}`),
    () => {},
  );
  expect(order).toEqual(['0 ours', '0 foil', '1 foil', '1 ours', '2 ours', '2 foil']);
});
