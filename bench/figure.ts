import { interval95, median } from './quantiles.ts';

/** One measured quantity, as `--json` writes it. `ratio` is ours / foil, whatever the unit: the goal says which way is good. */
export interface Figure {
  id: string;
  title: string;
  ours: number;
  /** Null where there is nothing to stand beside: the goal is then one of ours alone. */
  foil: number | null;
  unit: string;
  /** The median of the ratios of the rounds, each of two neighbours in time. */
  ratio: number | null;
  /** The lowest and the highest ratio of a round; for the lone caller the median's 95 % interval. */
  spread: [number, number] | null;
  goal: string | null;
  /** Null where there is no goal, and where a quick run cannot tell. */
  met: boolean | null;
}

/** A bound of the ratio or of our own value. */
export interface Goal {
  of: 'ratio' | 'ours';
  atLeast?: number;
  atMost?: number;
}

/** What both sides made of one round. */
export interface Pair {
  ours: number;
  foil: number;
}

export function figureOf(options: {
  id: string;
  title: string;
  unit: string;
  pairs: readonly Pair[];
  goal?: Goal;
  isQuick: boolean;
  spread?: 'rounds' | 'interval95';
}): Figure {
  const { id, title, unit, pairs, goal, isQuick } = options;
  const ratios = pairs.map((pair) => pair.ours / pair.foil);
  const ratio = median(ratios);
  const spread: [number, number] =
    options.spread === 'interval95' ? interval95(ratios) : [Math.min(...ratios), Math.max(...ratios)];
  const ours = median(pairs.map((pair) => pair.ours));
  const foil = median(pairs.map((pair) => pair.foil));
  if (!goal) return { id, title, ours, foil, unit, ratio, spread, goal: null, met: null };

  const isMet = goal.of === 'ratio' ? isWithin(goal, ratio) : isWithin(goal, ours);
  const values = goal.of === 'ratio' ? spread : pairs.map((pair) => pair.ours);
  // A quick run answers only when every one of its few rounds gives the same answer.
  const isPlain = values.every((value) => isWithin(goal, value) === isMet);
  return {
    id,
    title,
    ours,
    foil,
    unit,
    ratio,
    spread,
    goal: goalText(goal, unit),
    met: isQuick && !isPlain ? null : isMet,
  };
}

/** A quantity of ours that has no foil. */
export function figureAlone(options: { id: string; title: string; unit: string; ours: number; goal?: Goal }): Figure {
  const { goal, ...rest } = options;
  const met = goal ? isWithin(goal, rest.ours) : null;
  return { ...rest, foil: null, ratio: null, spread: null, goal: goal ? goalText(goal, rest.unit) : null, met };
}

function isWithin({ atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY }: Goal, value: number) {
  return value >= atLeast && value <= atMost;
}

function goalText({ of, atLeast, atMost }: Goal, unit: string): string {
  if (atMost === 0) return `0 ${unit}`;
  const bound = atLeast !== undefined ? `≥ ${atLeast}` : `≤ ${atMost}`;
  return of === 'ratio' ? `${bound}x` : `${bound} ${unit}`;
}
