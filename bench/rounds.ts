import { percentile } from './quantiles.ts';

export type SideName = 'ours' | 'foil';

/** What callers made of one stretch of time. Latencies in ms, of the whole piece of work. */
export interface Round {
  perSecond: number;
  p50: number;
  p99: number;
}

/** As many concurrent callers as said, each with its next piece of work as soon as it has the answer to the last. */
export function runFor(options: {
  callers: number;
  forMs: number;
  work: (n: number) => Promise<unknown>;
}): Promise<Round> {
  const until = performance.now() + options.forMs;
  return runWhile({ ...options, goesOn: () => performance.now() < until });
}

/** The same for a number of pieces. */
export function runTimes(options: {
  callers: number;
  times: number;
  work: (n: number) => Promise<unknown>;
}): Promise<Round> {
  return runWhile({ ...options, goesOn: (begun) => begun < options.times });
}

/** The work is told how many pieces were begun before it. */
export async function runWhile(options: {
  callers: number;
  goesOn: (begun: number) => boolean;
  work: (n: number) => Promise<unknown>;
}): Promise<Round> {
  const { callers, goesOn, work } = options;
  const latencies: number[] = [];
  let begun = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: callers }, async () => {
      while (goesOn(begun)) {
        const asked = performance.now();
        await work(begun++);
        latencies.push(performance.now() - asked);
      }
    }),
  );
  // What is still in flight at the end is waited for and counts, on both sides alike.
  const seconds = (performance.now() - began) / 1_000;
  return { perSecond: latencies.length / seconds, p50: percentile(latencies, 50), p99: percentile(latencies, 99) };
}

/** Ours and the foil by turns, the first of a round changing from round to round: what slows the machine slows both. */
export async function inTurns<T>(
  rounds: number,
  measure: (side: SideName, round: number) => Promise<T>,
  onRound: (pair: Record<SideName, T>, round: number) => void,
): Promise<Record<SideName, T>[]> {
  const pairs: Record<SideName, T>[] = [];
  for (let round = 0; round < rounds; round++) {
    const pair = {} as Record<SideName, T>;
    const order: SideName[] = round % 2 === 0 ? ['ours', 'foil'] : ['foil', 'ours'];
    for (const side of order) pair[side] = await measure(side, round);
    pairs.push(pair);
    onRound(pair, round);
  }
  return pairs;
}
