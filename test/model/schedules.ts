import fc from 'fast-check';
import type { LedgerDatabase } from './databaseCalls.ts';
import { findContradiction, findDifference } from './ledgerHistory.ts';
import { play } from './play.ts';
import { manyCallers, oneCaller, type Schedule } from './schedule.ts';

export const KINDS = ['one caller', 'many callers'] as const;

/** Plays random schedules until one shows something that the model cannot explain; answers the smallest such one as text. */
export async function checkSchedules(
  database: LedgerDatabase,
  kind: (typeof KINDS)[number],
  options: { runs: number; seed: number; played?: () => void },
): Promise<string | null> {
  const [schedules, find] = kind === 'one caller' ? [oneCaller, findDifference] : [manyCallers, findContradiction];
  const details = await fc.check(
    fc.asyncProperty(schedules, async (schedule) => {
      const { initial, history } = await play(database, schedule);
      const found = find(initial, history);
      if (found !== null) throw new Error(found);
      options.played?.();
    }),
    { numRuns: options.runs, seed: options.seed },
  );
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
