import { withdrawJob } from '../../db/jobs.ts';
import { createOrganization } from '../support/organization.ts';
import { type LedgerDatabase, send, sendAndCut } from './databaseCalls.ts';
import { type Answer, type Command, decide, type Ledger, newLedger } from './ledger.ts';
import type { RecordedCall } from './ledgerHistory.ts';
import { JOB, type Schedule } from './schedule.ts';

/** Plays a schedule on a new organization of a real database, and answers what its callers saw. */
export async function play(
  database: LedgerDatabase,
  schedule: Schedule,
): Promise<{ initial: Ledger; history: RecordedCall[] }> {
  const organization = await createOrganization(database.superuser, schedule.plan);
  let initial = newLedger(schedule.plan);
  for (const row of schedule.setup) {
    await send(database, organization, [row]);
    initial = decide(initial, [row]).ledger;
  }

  const history: RecordedCall[] = [];
  let moment = 0;
  const record = async (rows: readonly Command[], run: () => Promise<Answer[] | null>) => {
    const call: RecordedCall = { rows, start: moment++, end: null, answers: null };
    history.push(call);
    call.answers = await run();
    if (call.answers !== null) call.end = moment++;
  };
  const call = (rows: readonly Command[]) => record(rows, () => send(database, organization, rows));

  for (const { elapseMs, callers } of schedule.rounds) {
    if (elapseMs > 0) await call([{ verb: 'elapse', durationMs: elapseMs }]);
    await Promise.all(
      callers.map(async (calls) => {
        for (const { rows, isCut } of calls)
          await (isCut ? record(rows, () => sendAndCut(database, organization, rows)) : call(rows));
      }),
    );
  }
  for (const tokenType of ['lead_generation', 'goal_generation'] as const) await call([{ verb: 'inspect', tokenType }]);
  // A job that nobody begins would be found stuck by the invariants, once time has passed.
  if (schedule.setup.some((row) => row.verb === 'hold' && row.isOfJob))
    await withdrawJob(database.api, organization.organizationId, JOB, 'start_failed');
  return { initial, history };
}
