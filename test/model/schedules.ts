import fc from 'fast-check';
import type { LedgerDatabase } from './databaseCalls.ts';
import { findContradiction, findDifference } from './ledgerHistory.ts';
import { play } from './play.ts';
import { crowd, manyCallers, oneCaller, type Schedule } from './schedule.ts';

/** What is played, what finds fault with it, and how many of a hundred schedules are of that kind. */
const KINDS = {
  'one caller': { schedules: oneCaller, find: findDifference, percent: 50 },
  'many callers': { schedules: manyCallers, find: findContradiction, percent: 40 },
  'a crowd': { schedules: crowd, find: findContradiction, percent: 10 },
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
 * the smallest that was found within the time limit.
 */
export async function checkSchedules(
  database: LedgerDatabase,
  kind: Kind,
  options: { runs: number; seed: number; timeLimitMs?: number },
): Promise<string | null> {
  const { schedules, find } = KINDS[kind];
  const details = await fc.check(
    fc.asyncProperty(schedules, async (schedule) => {
      const { initial, history } = await play(database, schedule);
      const found = find(initial, history);
      if (found !== null) throw new Error(found);
    }),
    {
      numRuns: options.runs,
      seed: options.seed,
      ...(options.timeLimitMs === undefined ? {} : { interruptAfterTimeLimit: options.timeLimitMs }),
    },
  );
  if (!details.failed && details.interrupted)
    return `only ${details.numRuns} of ${options.runs} schedules were played in time`;
  if (!details.failed) return null;
  return [
    `A schedule with ${kind} fails (seed ${details.seed}, path ${details.counterexamplePath}, shrunk ${details.numShrinks} times):`,
    ...linesOf(details.counterexample![0]),
    details.errorInstance instanceof Error ? details.errorInstance.message : `${details.errorInstance}`,
  ].join('\n');
}

function linesOf({ plan, setup, rounds }: Schedule): string[] {
  return [
    `  plan ${plan}`,
    ...setup.map((row) => `  before: ${JSON.stringify(row)}`),
    ...rounds.flatMap(({ elapseMs, callers }, round) => [
      `  round ${round + 1}, ${elapseMs / 60_000} minutes later:`,
      ...callers.flatMap((calls, caller) =>
        calls.map(({ rows, isCut }) => `    caller ${caller + 1}${isCut ? ', cut' : ''}: ${JSON.stringify(rows)}`),
      ),
    ]),
  ];
}
