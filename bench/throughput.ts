import type { BenchDatabase } from './databases.ts';
import { openBestFoil } from './foil.ts';
import { openOurs } from './ours.ts';
import { inTurns, type Round, runFor, type SideName } from './rounds.ts';
import { type Bench, CALLERS } from './series.ts';
import { perform, type Side, type Workload } from './side.ts';

const FULL = { rounds: 7, roundMs: 1_500, warmMs: 700 };
const QUICK = { rounds: 5, roundMs: 1_200, warmMs: 300 };

/**
 * As many callers as a series has, on ours and on the foil with its best pool, in turns. Before the first round both have
 * done the same work for a while: compilers, plans and caches are warm, and the first pages written.
 */
export async function compareThroughput(
  { isQuick, say }: Bench,
  database: BenchDatabase,
  options: { workload: Workload; organizationOf: () => string; urlOf?: (url: string) => string },
): Promise<Record<SideName, Round>[]> {
  const { workload, organizationOf, urlOf = (url) => url } = options;
  const { rounds, roundMs, warmMs } = isQuick ? QUICK : FULL;
  const work = (side: Side) => perform(side, workload, organizationOf());
  const callers = CALLERS;
  const foil = await openBestFoil({ url: urlOf(database.urls.owner), forMs: warmMs, work, say });
  const sides = { ours: openOurs(urlOf(database.urls.api)), foil };
  try {
    for (const side of Object.values(sides)) await runFor({ callers, forMs: warmMs, work: () => work(side) });
    return await inTurns(
      rounds,
      (name) => runFor({ callers, forMs: roundMs, work: () => work(sides[name]) }),
      (pair, round) => say(`round ${round + 1} of ${rounds}: ${roundText(pair)}`),
    );
  } finally {
    await Promise.all(Object.values(sides).map((side) => side.close()));
  }
}

export function roundText({ ours, foil }: Record<SideName, Round>): string {
  const one = ({ perSecond, p50, p99 }: Round) =>
    `${Math.round(perSecond)}/s, p50 ${p50.toFixed(1)} and p99 ${p99.toFixed(1)} ms`;
  return `ours ${one(ours)}; foil ${one(foil)}; ${(ours.perSecond / foil.perSecond).toFixed(1)}x`;
}

/** One quantity of each round's pair. */
export function pairsOf(pairs: readonly Record<SideName, Round>[], quantity: keyof Round) {
  return pairs.map(({ ours, foil }) => ({ ours: ours[quantity], foil: foil[quantity] }));
}
