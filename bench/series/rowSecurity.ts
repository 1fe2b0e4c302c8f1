import type pg from 'pg';
import { seededRandom } from '../../dev/seededRandom.ts';
import { figureOf } from '../figure.ts';
import { openOurs } from '../ours.ts';
import { inTurns, runFor, type SideName } from '../rounds.ts';
import { type Bench, CALLERS, HOT, type Measured } from '../series.ts';
import { perform } from '../side.ts';

/** Enough for a batch to meet hardly any of them twice. */
const ORGANIZATIONS = 2_000;

/** What the policies cost: ours as it is, and ours on a database of its own where row-level security is off everywhere. */
export async function rowSecurity(bench: Bench): Promise<Measured> {
  const { isQuick, say } = bench;
  const [rounds, roundMs] = isQuick ? [3, 1_000] : [7, 1_500];
  const databases = {
    ours: await bench.databases.fresh(ORGANIZATIONS),
    foil: await bench.databases.fresh(ORGANIZATIONS),
  };
  const tables = await switchOff(databases.foil.superuser);
  say(`row-level security is off on ${tables} tables of the foil`);
  const sides = { ours: openOurs(databases.ours.urls.api), foil: openOurs(databases.foil.urls.api) };

  const random = seededRandom(3);
  const traffics = {
    hot: () => HOT,
    uniform: () => databases.ours.organizations[Math.floor(random() * ORGANIZATIONS)]!,
  };
  const figures = [];
  for (const [traffic, organizationOf] of Object.entries(traffics)) {
    const measure = (side: SideName, forMs: number) =>
      runFor({ callers: CALLERS, forMs, work: () => perform(sides[side], 'cycle', organizationOf()) });
    for (const side of ['ours', 'foil'] as const) await measure(side, 1_000);
    const pairs = await inTurns(
      rounds,
      (side) => measure(side, roundMs),
      ({ ours, foil }, round) =>
        say(
          `${traffic}, round ${round + 1} of ${rounds}: on ${Math.round(ours.perSecond)}/s, off ${Math.round(foil.perSecond)}/s`,
        ),
    );
    figures.push(
      figureOf({
        id: `row-security-${traffic}`,
        title: `time per cycle with row-level security, ${traffic} (foil: without)`,
        unit: 'µs',
        pairs: pairs.map(({ ours, foil }) => ({ ours: 1e6 / ours.perSecond, foil: 1e6 / foil.perSecond })),
        goal: { of: 'ratio', atMost: 1.15 },
        isQuick,
      }),
    );
  }
  await Promise.all(Object.values(sides).map((side) => side.close()));
  for (const database of Object.values(databases)) {
    await database.verify();
    await database.drop();
  }
  return { figures };
}

async function switchOff(superuser: pg.Pool): Promise<number> {
  const { rows } = await superuser.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c
      where c.relrowsecurity and c.relnamespace in ('tollgate'::regnamespace, 'public'::regnamespace)`,
  );
  for (const { name } of rows) {
    await superuser.query(`alter table ${name} no force row level security`);
    await superuser.query(`alter table ${name} disable row level security`);
  }
  return rows.length;
}
