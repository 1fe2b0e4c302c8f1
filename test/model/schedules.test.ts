import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { checkSchedules, sharesOf } from './schedules.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

/** A new one each time; a failure prints it. */
const seed = Math.floor(Math.random() * 2 ** 31);

it.each(sharesOf(100))(
  '$runs random schedules with $kind: every answer is one that the pure model explains, and the books agree',
  async ({ kind, runs }) => {
    const { failure, givenUp } = await checkSchedules(database, kind, { runs, seed, timeLimitMs: 120_000 });
    if (failure !== null) throw new Error(failure);
    // Of those nothing is known but that the books agree. A kind with few runs may meet two by chance.
    expect(givenUp).toBeLessThanOrEqual(Math.max(2, runs / 20));
    await expectInvariants(database.superuser);
  },
  // With room to shrink a schedule that fails.
  180_000,
);
