import type pg from 'pg';
import { seededRandom } from '../../dev/seededRandom.ts';
import type { BenchDatabase } from '../databases.ts';
import { figureOf } from '../figure.ts';
import { openFoil } from '../foil.ts';
import { openOurs } from '../ours.ts';
import { inTurns, runTimes, type SideName } from '../rounds.ts';
import { type Bench, CALLERS, HOT, type Measured, UNIFORM_ORGANIZATIONS } from '../series.ts';
import { perform } from '../side.ts';

const ROUNDS = 3;
/** A pool that serves both kinds of traffic; how fast the foil is does not matter here. */
const FOIL_CONNECTIONS = 16;

/** Bytes of write-ahead log for each hold with its capture, from the server's own position in it. */
export async function wal(bench: Bench): Promise<Measured> {
  const database = await bench.databases.fresh(UNIFORM_ORGANIZATIONS);
  const { superuser } = database;
  const sides = { ours: openOurs(database.urls.api), foil: openFoil(database.urls.owner, FOIL_CONNECTIONS) };
  const cycles = (side: SideName, times: number, organizationOf: (n: number) => string) =>
    runTimes({ callers: CALLERS, times, work: (n) => perform(sides[side], 'cycle', organizationOf(n)) });

  // Its work on one side's rows would be counted as the other side's.
  await setAutovacuum(superuser, 'off');
  const hot = await measure(bench, 'hot', { times: { ours: 8_000, foil: 1_000 }, organizationOf: () => HOT });
  const mixed = shuffled(database);
  const uniform = await measure(bench, 'uniform', {
    times: { ours: 5_000, foil: 3_000 },
    organizationOf: (n) => mixed[n % mixed.length]!,
  });
  await setAutovacuum(superuser, 'on');
  await Promise.all(Object.values(sides).map((side) => side.close()));
  await database.verify();
  await database.drop();
  return { figures: [hot, uniform] };

  async function measure(
    { isQuick, say }: Bench,
    traffic: 'hot' | 'uniform',
    { times, organizationOf }: { times: Record<SideName, number>; organizationOf: (n: number) => string },
  ) {
    // A page's first change after a checkpoint logs the whole page. One checkpoint, then every page that is there is
    // touched by both sides, and no other checkpoint follows: what is counted is what was changed, on both sides.
    await superuser.query('checkpoint');
    for (const side of ['ours', 'foil'] as const) {
      say(`${traffic}: ${side} over every page once …`);
      await cycles(side, traffic === 'uniform' ? UNIFORM_ORGANIZATIONS : times[side], organizationOf);
    }
    const pairs = await inTurns(
      ROUNDS,
      async (side, round) => {
        const before = await position(superuser);
        await cycles(side, times[side], (n) => organizationOf(n + round * times[side]));
        return ((await position(superuser)) - before) / times[side];
      },
      ({ ours, foil }, round) =>
        say(`${traffic}, round ${round + 1} of ${ROUNDS}: ours ${Math.round(ours)}, foil ${Math.round(foil)} bytes`),
    );
    return figureOf({
      ...{ id: `wal-${traffic}`, title: `write-ahead log per cycle, ${traffic}`, unit: 'bytes', pairs, isQuick },
      goal: { of: 'ratio', atMost: traffic === 'hot' ? 0.5 : 0.9 },
    });
  }
}

async function position(superuser: pg.Pool): Promise<number> {
  const { rows } = await superuser.query(`select pg_current_wal_insert_lsn() - '0/0' as position`);
  return Number(rows[0].position);
}

async function setAutovacuum(superuser: pg.Pool, to: 'on' | 'off'): Promise<void> {
  await superuser.query(`alter system set autovacuum = ${to}`);
  await superuser.query('select pg_reload_conf()');
}

function shuffled({ organizations }: BenchDatabase): string[] {
  const random = seededRandom(2);
  return organizations
    .map((id) => ({ id, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ id }) => id);
}
