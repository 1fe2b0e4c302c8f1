import { expect, it } from 'vitest';
import { freshDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { checkSchedules, sharesOf } from './schedules.ts';

const BLOCKS = Array.from({ length: 5 }, () => ({ seed: Math.floor(Math.random() * 2 ** 31) }));

it.each(BLOCKS.flatMap(({ seed }) => sharesOf(1_000 / BLOCKS.length).map((share) => ({ ...share, seed }))))(
  '$runs random schedules with $kind: every answer is one that the pure model explains, and the books agree (seed $seed)',
  async ({ kind, runs, seed }) => {
    const database = await freshDatabase();
    try {
      const { failure, givenUp } = await checkSchedules(database, kind, { runs, seed, timeLimitMs: 400_000 });
      if (failure !== null) throw new Error(failure);
      // Of those nothing is known but that the books agree.
      expect(givenUp).toBeLessThanOrEqual(runs / 20);
      await expectInvariants(database.superuser);
    } finally {
      await database.drop();
    }
  },
);
