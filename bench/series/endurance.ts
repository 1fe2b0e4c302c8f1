import type { BenchDatabase } from '../databases.ts';
import { type Figure, figureAlone, figureOf } from '../figure.ts';
import { openOurs } from '../ours.ts';
import { runFor } from '../rounds.ts';
import { type Bench, CALLERS, HOT, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import { perform, type Side } from '../side.ts';

const SLICE_MS = 10_000;
const SLICES_PER_MINUTE = 6;

/**
 * Cycles on a hot organization for minutes on end: the last minute beside the first. Then the same on a fresh database with
 * one snapshot held open, which keeps every dead version of the hot rows from being cleared away.
 */
export async function endurance(bench: Bench): Promise<Measured> {
  const { minutes } = bench;
  if (minutes < 2) throw new Error('--minutes: the last minute and the first are the same one below 2');
  return { figures: [...(await undisturbed(bench)), ...(await besideSnapshot(bench))] };
}

async function undisturbed(bench: Bench): Promise<Figure[]> {
  return onFresh(bench, async (side) => {
    const perMinute = await runMinutes(bench, side, bench.minutes, 'undisturbed');
    return [
      lastBesideFirst('endurance', `${bench.minutes} minutes of hold + capture`, perMinute, 0.95),
      figureAlone({
        id: 'endurance-slowest',
        title: `slowest minute of ${bench.minutes}`,
        unit: 'cycles/s',
        ours: Math.min(...perMinute.map((minute) => minute.perSecond)),
      }),
    ];
  });
}

async function besideSnapshot(bench: Bench): Promise<Figure[]> {
  return onFresh(bench, async (side, { superuser }) => {
    const first = await runMinutes(bench, side, 1, 'before the snapshot');
    const reader = await superuser.connect();
    try {
      await reader.query('begin transaction isolation level repeatable read read only');
      await reader.query('select count(*) from tollgate.balances');
      const rest = await runMinutes(bench, side, bench.minutes, 'beside an open snapshot');
      const title = `${bench.minutes} minutes beside an open snapshot (foil: own first minute, without it)`;
      return [lastBesideFirst('endurance-snapshot', title, [...first, ...rest], 0.5)];
    } finally {
      await reader.query('rollback').catch(() => {});
      reader.release();
    }
  });
}

async function onFresh(
  bench: Bench,
  measure: (side: Side, database: BenchDatabase) => Promise<Figure[]>,
): Promise<Figure[]> {
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  const side = openOurs(database.urls.api);
  await runFor({ callers: CALLERS, forMs: 2_000, work: () => perform(side, 'cycle', HOT) });
  const figures = await measure(side, database);
  await side.close();
  await database.verify();
  await database.drop();
  return figures;
}

interface Minute {
  perSecond: number;
  p99: number;
}

async function runMinutes({ say }: Bench, side: Side, minutes: number, condition: string): Promise<Minute[]> {
  const perMinute: Minute[] = [];
  for (let minute = 1; minute <= minutes; minute++) {
    const slices = [];
    for (let slice = 0; slice < SLICES_PER_MINUTE; slice++) {
      const round = await runFor({ callers: CALLERS, forMs: SLICE_MS, work: () => perform(side, 'cycle', HOT) });
      slices.push(round);
      say(
        `${condition}, minute ${minute} of ${minutes}: ${Math.round(round.perSecond)} cycles/s, p99 ${round.p99.toFixed(1)} ms`,
      );
    }
    const perSecond = slices.reduce((sum, round) => sum + round.perSecond, 0) / slices.length;
    perMinute.push({ perSecond, p99: Math.max(...slices.map((round) => round.p99)) });
  }
  return perMinute;
}

function lastBesideFirst(id: string, title: string, perMinute: readonly Minute[], atLeast: number): Figure {
  const [first, last] = [perMinute[0]!, perMinute.at(-1)!];
  return figureOf({
    ...{ id, title: `${title}: last minute`, unit: 'cycles/s', isQuick: false },
    pairs: [{ ours: last.perSecond, foil: first.perSecond }],
    goal: { of: 'ratio', atLeast },
  });
}
