import { figureOf } from '../figure.ts';
import { type Bench, CALLERS, HOT, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import { compareThroughput, pairsOf } from '../throughput.ts';

/** One organization that everybody uses: holds alone. */
export function hotHold(bench: Bench): Promise<Measured> {
  return hot(bench, 'hold', 60);
}

/** The same, each hold captured for less than it has. */
export function hotCycle(bench: Bench): Promise<Measured> {
  return hot(bench, 'cycle', 45);
}

async function hot(bench: Bench, workload: 'hold' | 'cycle', goal: number): Promise<Measured> {
  const { isQuick } = bench;
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  const pairs = await compareThroughput(bench, database, { workload, organizationOf: () => HOT });
  await database.verify();
  await database.drop();

  const what = `hot organization, ${CALLERS} callers, ${workload === 'hold' ? 'hold' : 'hold + capture'}`;
  const id = `hot-${workload}`;
  return {
    figures: [
      figureOf({
        ...{ id, title: what, unit: '/s', isQuick },
        pairs: pairsOf(pairs, 'perSecond'),
        goal: { of: 'ratio', atLeast: goal },
      }),
      figureOf({ id: `${id}-p50`, title: `${what}, p50`, unit: 'ms', pairs: pairsOf(pairs, 'p50'), isQuick }),
      figureOf({
        ...{ id: `${id}-p99`, title: `${what}, p99`, unit: 'ms', isQuick },
        pairs: pairsOf(pairs, 'p99'),
        ...(workload === 'hold' ? { goal: { of: 'ratio', atMost: 1 / 50 } } : {}),
      }),
    ],
  };
}
