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
  await place(database, organization.organizationId, history);
  // A job that nobody begins would be found stuck by the invariants, once time has passed.
  if (schedule.setup.some((row) => row.verb === 'hold' && row.isOfJob))
    await withdrawJob(database.api, organization.organizationId, JOB, 'start_failed');
  return { initial, history };
}

/** By the number of the ledger's entry that a call made, where it says of which call it is: it names its hold. */
async function place(
  { superuser }: LedgerDatabase,
  organizationId: string,
  history: readonly RecordedCall[],
): Promise<void> {
  const { rows } = await superuser.query<{ kind: string; holdId: string; place: number }>(
    `select e.kind, e.hold_id as "holdId", min(e.entry_number) as place
       from tollgate.ledger_entries e
      where e.organization_id = $1 and e.hold_id is not null
      group by e.kind, e.hold_id`,
    [organizationId],
  );
  const places = new Map(rows.map(({ kind, holdId, place }) => [`${kind} ${holdId}`, place]));
  for (const call of history) {
    const own = call.rows.flatMap((row, index) => {
      const answer = call.answers?.[index];
      // Where the answer is lost it may have moved something.
      const hasMoved =
        answer === undefined ||
        ('isRepeat' in answer && !answer.isRepeat && /^(held|captured|released)$/.test(answer.outcome));
      return 'holdId' in row && hasMoved ? (places.get(`${row.verb} ${row.holdId}`) ?? []) : [];
    });
    if (own.length > 0) call.place = Math.min(...own);
  }
}
