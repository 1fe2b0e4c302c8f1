import fc from 'fast-check';
import { catalogueContent, catalogueDigest } from '../../db/catalogue.ts';
import type { LedgerDatabase } from './databaseCalls.ts';
import { type Finding, findContradiction, findDifference } from './ledgerHistory.ts';
import { play } from './play.ts';
import { crowd, manyCallers, oneCaller, POOLED, pooled, type Schedule } from './schedule.ts';

/** What is played, what finds fault with it, and how many of a hundred schedules are of that kind. */
const KINDS = {
  'one caller': { schedules: oneCaller, find: findDifference, percent: 40, isPooled: false },
  'many callers': { schedules: manyCallers, find: findContradiction, percent: 35, isPooled: false },
  'a crowd': { schedules: crowd, find: findContradiction, percent: 9, isPooled: false },
  'one caller and pooled tokens': { schedules: pooled(oneCaller), find: findDifference, percent: 8, isPooled: true },
  'many callers and pooled tokens': {
    schedules: pooled(manyCallers),
    find: findContradiction,
    percent: 8,
    isPooled: true,
  },
};
type Kind = keyof typeof KINDS;

/** How many schedules of each kind `total` are; the last kinds get what does not divide. */
export function sharesOf(total: number): { kind: Kind; runs: number }[] {
  let [given, percents] = [0, 0];
  return (Object.keys(KINDS) as Kind[]).map((kind) => {
    percents += KINDS[kind].percent;
    const runs = Math.floor((total * percents) / 100) - given;
    given += runs;
    return { kind, runs };
  });
}

/**
 * Plays random schedules until one shows something that the model cannot explain; answers the smallest such one as text, or
 * the smallest that was found within the time limit. Beside it, how many searches for an order were given up: of those
 * nothing is known but that the books agree.
 */
export async function checkSchedules(
  database: LedgerDatabase,
  kind: Kind,
  options: { runs: number; seed: number; timeLimitMs?: number },
): Promise<{ failure: string | null; givenUp: number }> {
  const { schedules, find, isPooled } = KINDS[kind];
  await applyFallbacks(database, isPooled);
  let givenUp = 0;
  const details = await fc.check(
    fc.asyncProperty(schedules, async (schedule) => {
      const { initial, history } = await play(database, schedule);
      const found: Finding = find(initial, history);
      givenUp += found.givenUp;
      if (found.contradiction !== null) throw new Error(found.contradiction);
    }),
    {
      numRuns: options.runs,
      seed: options.seed,
      ...(options.timeLimitMs === undefined ? {} : { interruptAfterTimeLimit: options.timeLimitMs }),
    },
  );
  return { failure: failureOf(kind, details, options.runs), givenUp };
}

/** Which types a feature may fall back to is the catalogue's, for all organizations. */
async function applyFallbacks({ superuser }: LedgerDatabase, isPooled: boolean): Promise<void> {
  const fallbacks = Object.entries(isPooled ? POOLED : {}).flatMap(([feature, types]) =>
    types.map((tokenType, rank) => ({ plan: 'pro', feature, rank, tokenType })),
  );
  const content = { ...catalogueContent(), fallbacks };
  await superuser.query('select tollgate.apply_catalogue($1, $2)', [isPooled ? 'pooled' : catalogueDigest(), content]);
}

function failureOf(kind: Kind, details: fc.RunDetails<[Schedule]>, runs: number): string | null {
  if (!details.failed && details.interrupted) return `only ${details.numRuns} of ${runs} schedules were played in time`;
  if (!details.failed) return null;
  return [
    `A schedule with ${kind} fails (seed ${details.seed}, path ${details.counterexamplePath}, shrunk ${details.numShrinks} times):`,
    ...linesOf(details.counterexample![0]),
    details.errorInstance instanceof Error ? details.errorInstance.message : `${details.errorInstance}`,
  ].join('\n');
}

function linesOf({ plan, settings, isGathered, setup, rounds }: Schedule): string[] {
  return [
    `  plan ${plan}, ${JSON.stringify(settings)}${isGathered ? ', gathered by one process' : ''}`,
    ...setup.map((row) => `  before: ${JSON.stringify(row)}`),
    ...rounds.flatMap(({ elapseMs, callers }, round) => [
      `  round ${round + 1}, ${elapseMs / 60_000} minutes later:`,
      ...callers.flatMap((calls, caller) =>
        calls.map(({ rows, isCut }) => `    caller ${caller + 1}${isCut ? ', cut' : ''}: ${JSON.stringify(rows)}`),
      ),
    ]),
  ];
}
