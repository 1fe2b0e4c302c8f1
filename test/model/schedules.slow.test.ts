import { expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { checkSchedules, KINDS } from './schedules.ts';

const BLOCK = 100;
const seeds = Array.from({ length: 5 }, () => Math.floor(Math.random() * 2 ** 31));

it.each(KINDS.flatMap((kind) => seeds.map((seed) => [kind, seed] as const)))(
  'with %s: every answer is one that the pure model explains, and the books agree (seed %i)',
  async (kind, seed) => {
    const database = await freshDatabase();
    try {
      let played = 0;
      const failure = await checkSchedules(database, kind, { runs: BLOCK, seed, played: () => played++ });
      if (failure !== null) throw new Error(failure);
      expect(played).toBe(BLOCK);
      await expectInvariants(database.superuser);
    } finally {
      await database.drop();
    }
  },
);
