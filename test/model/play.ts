import { createCoalescer } from '../../db/coalescer.ts';
import { withdrawJob } from '../../db/jobs.ts';
import { createOrganization } from '../support/organization.ts';
import { isGathered, type LedgerDatabase, send, sendAndCut, sendThrough } from './databaseCalls.ts';
import { type Answer, type Command, decide, type Ledger, newLedger, type Settings } from './ledger.ts';
import type { RecordedCall } from './ledgerHistory.ts';
import { placeByEntries } from './places.ts';
import { JOB, type Schedule } from './schedule.ts';

/** Plays a schedule on a new organization of a real database, and answers what its callers saw. */
export async function play(
  database: LedgerDatabase,
  schedule: Schedule,
): Promise<{ initial: Ledger; history: RecordedCall[] }> {
  const organization = await createOrganization(database.superuser, schedule.plan);
  await rule(database, organization.organizationId, schedule.settings);
  let initial = newLedger(schedule.plan, schedule.settings);
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
  const coalescer = createCoalescer(database.api);
  const call = async (rows: readonly Command[]) => {
    if (!schedule.isGathered || !rows.every(isGathered)) return record(rows, () => send(database, organization, rows));
    // Each is a call of its own: what they have in common is the statement, if the process sends them so.
    await Promise.all(rows.map((row) => record([row], async () => [await sendThrough(coalescer, organization, row)])));
  };

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
  await coalescer.close();
  await placeByEntries(database.superuser, organization.organizationId, history);
  // A job that nobody begins would be found stuck by the invariants, once time has passed.
  if (schedule.setup.some((row) => row.verb === 'hold' && row.isOfJob))
    await withdrawJob(database.api, organization.organizationId, JOB, 'start_failed');
  return { initial, history };
}

/** But for the fallbacks, which are the catalogue's (see schedules.ts). */
async function rule({ superuser }: LedgerDatabase, organizationId: string, { aboveHold, limits }: Settings) {
  await superuser.query('select tollgate.set_capture_rule($1, $2)', [organizationId, aboveHold]);
  for (const [tokenType, tokens] of Object.entries(limits))
    await superuser.query(`select tollgate.set_sub_limit($1, $2, 'key', '*', 'period', $3)`, [
      organizationId,
      tokenType,
      tokens,
    ]);
}
