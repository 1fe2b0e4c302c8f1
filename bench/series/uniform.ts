import { seededRandom } from '../../dev/seededRandom.ts';
import { figureOf } from '../figure.ts';
import { type Bench, CALLERS, type Measured, UNIFORM_ORGANIZATIONS } from '../series.ts';
import { compareThroughput, pairsOf } from '../throughput.ts';

const GOALS = { hold: 10, cycle: 12 };

/** Each call on another of ten thousand organizations: nothing to gather per balance, and no queue at any for the foil. */
export async function uniform(bench: Bench): Promise<Measured> {
  const { isQuick, say } = bench;
  const database = await bench.databases.fresh(UNIFORM_ORGANIZATIONS);
  const random = seededRandom(1);
  const organizationOf = () => database.organizations[Math.floor(random() * UNIFORM_ORGANIZATIONS)]!;
  const figures = [];
  for (const workload of ['hold', 'cycle'] as const) {
    const what = `10,000 organizations, ${CALLERS} callers, ${workload === 'hold' ? 'hold' : 'hold + capture'}`;
    say(what);
    const pairs = await compareThroughput(bench, database, { workload, organizationOf });
    const id = `uniform-${workload}`;
    figures.push(
      figureOf({
        ...{ id, title: what, unit: '/s', isQuick },
        pairs: pairsOf(pairs, 'perSecond'),
        goal: { of: 'ratio', atLeast: GOALS[workload] },
      }),
      figureOf({ id: `${id}-p99`, title: `${what}, p99`, unit: 'ms', pairs: pairsOf(pairs, 'p99'), isQuick }),
    );
  }
  await database.verify();
  await database.drop();
  return { figures };
}
