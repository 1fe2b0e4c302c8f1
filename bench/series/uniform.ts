import { figureOf } from '../figure.ts';
import { seededRandom } from '../seededRandom.ts';
import { type Bench, CALLERS, type Measured, UNIFORM_ORGANIZATIONS } from '../series.ts';
import { compareThroughput, pairsOf } from '../throughput.ts';

/** Each call on another of ten thousand organizations: nothing to gather per balance, and no queue at any for the foil. */
export function uniformHold(bench: Bench): Promise<Measured> {
  return uniform(bench, 'hold', 10);
}

export function uniformCycle(bench: Bench): Promise<Measured> {
  return uniform(bench, 'cycle', 12);
}

async function uniform(bench: Bench, workload: 'hold' | 'cycle', goal: number): Promise<Measured> {
  const { isQuick } = bench;
  const database = await bench.databases.fresh(UNIFORM_ORGANIZATIONS);
  const random = seededRandom(1);
  const pairs = await compareThroughput(bench, database, {
    workload,
    organizationOf: () => database.organizations[Math.floor(random() * UNIFORM_ORGANIZATIONS)]!,
  });
  await database.verify();
  await database.drop();

  const what = `10,000 organizations, ${CALLERS} callers, ${workload === 'hold' ? 'hold' : 'hold + capture'}`;
  const id = `uniform-${workload}`;
  return {
    figures: [
      figureOf({
        ...{ id, title: what, unit: '/s', isQuick },
        pairs: pairsOf(pairs, 'perSecond'),
        goal: { of: 'ratio', atLeast: goal },
      }),
      figureOf({ id: `${id}-p99`, title: `${what}, p99`, unit: 'ms', pairs: pairsOf(pairs, 'p99'), isQuick }),
    ],
  };
}
