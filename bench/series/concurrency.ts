import { type Figure, figureOf } from '../figure.ts';
import { openBestFoil } from '../foil.ts';
import { openOurs } from '../ours.ts';
import { median } from '../quantiles.ts';
import { inTurns, type Round, runFor, type SideName } from '../rounds.ts';
import { type Bench, type CurvePoint, HOT, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import { pairsOf, roundText } from '../throughput.ts';

const LEVELS = [1, 4, 16, 64, 256, 1_024];
const ROUNDS = 3;

/** Holds on a hot organization by few and by many callers: the plot's two panels. No goals; the goals are at 256. */
export async function concurrency(bench: Bench): Promise<Measured> {
  const { isQuick, say } = bench;
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  // Its best pool with many callers serves it for fewer as well: no more of it is opened than there are callers.
  const foil = await openBestFoil({
    ...{ url: database.urls.owner, forMs: isQuick ? 500 : 1_000, say },
    work: (side) => side.hold(HOT),
  });
  const sides = { ours: openOurs(database.urls.api), foil };
  const measure = (name: SideName, callers: number, forMs: number) =>
    runFor({ callers, forMs, work: () => sides[name].hold(HOT) });
  for (const name of ['ours', 'foil'] as const) await measure(name, 64, 500);

  const curve: CurvePoint[] = [];
  const figures: Figure[] = [];
  for (const callers of LEVELS) {
    const pairs = await inTurns(
      isQuick ? 1 : ROUNDS,
      (name) => measure(name, callers, isQuick ? 500 : 1_200),
      (pair) => say(`${callers} callers: ${roundText(pair)}`),
    );
    const middle = (side: SideName, quantity: keyof Round) => median(pairs.map((pair) => pair[side][quantity]));
    const of = (side: SideName) => ({ perSecond: middle(side, 'perSecond'), p99: middle(side, 'p99') });
    curve.push({ callers, ours: of('ours'), foil: of('foil') });
    figures.push(
      figureOf({
        ...{ id: `concurrency-${callers}`, title: `hot organization, ${callers} callers, hold`, unit: '/s', isQuick },
        pairs: pairsOf(pairs, 'perSecond'),
      }),
    );
  }
  await Promise.all(Object.values(sides).map((side) => side.close()));
  await database.verify();
  await database.drop();
  return { figures, curve };
}
