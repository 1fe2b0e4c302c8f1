import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { figureOf } from '../figure.ts';
import { openOurs } from '../ours.ts';
import { inTurns, runFor } from '../rounds.ts';
import { type Bench, HOT, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import { HOLD } from '../side.ts';

/** A caller with nobody beside him: a hold next to one durable insert of a row with two indexes, the least it could be. */
export async function lone(bench: Bench): Promise<Measured> {
  const { isQuick, say } = bench;
  const [rounds, forMs] = isQuick ? [15, 200] : [41, 300];
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  const ours = openOurs(database.urls.api);
  const pool = new pg.Pool({ connectionString: database.urls.owner, max: 1 });
  const insert = () =>
    pool.query({
      name: 'bare',
      text: 'insert into foil.bare (id, organization_id, feature, amount) values ($1, $2, $3, $4)',
      values: [randomUUID(), HOT, HOLD.feature, HOLD.amount],
    });
  const work = { ours: () => ours.hold(HOT), foil: insert };
  for (const side of Object.values(work)) await runFor({ callers: 1, forMs: 1_000, work: side });

  const pairs = await inTurns(
    rounds,
    async (side) => (await runFor({ callers: 1, forMs, work: work[side] })).p50,
    (pair, round) => {
      if ((round + 1) % 5 === 0)
        say(`pair ${round + 1} of ${rounds}: ours ${pair.ours.toFixed(3)} ms, insert ${pair.foil.toFixed(3)} ms`);
    },
  );
  await Promise.all([ours.close(), pool.end()]);
  await database.verify();
  await database.drop();
  return {
    figures: [
      figureOf({
        ...{ id: 'lone-hold', title: 'lone caller, hold, p50 (foil: one bare insert)', unit: 'ms', isQuick },
        pairs,
        goal: { of: 'ratio', atMost: 1.3 },
        spread: 'interval95',
      }),
    ],
  };
}
