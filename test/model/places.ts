import type { Pool } from 'pg';
import type { Answer, Command } from './ledger.ts';
import type { RecordedCall } from './ledgerHistory.ts';

interface Entry {
  place: number;
  kind: string;
  holdId: string | null;
  amount: number;
  /** Of all the entries of its kind and hold up to this one. */
  amountInAll: number;
}

/**
 * Says of each call, as far as the ledger's entries tell it, where it came among those that moved something: by the number of
 * the entry that it made. An entry names its hold, and what an answer tells tells which of the hold's entries it was. Where the
 * answer was lost, the call may have made the first of them. A wrong guess costs time, and changes no verdict.
 */
export async function placeByEntries(
  superuser: Pool,
  organizationId: string,
  history: readonly RecordedCall[],
): Promise<void> {
  const { rows: entries } = await superuser.query<Entry>(
    `select e.entry_number as place, e.kind, e.hold_id as "holdId", e.amount,
            sum(e.amount) over (partition by e.kind, e.hold_id, e.token_type order by e.entry_number)::bigint as "amountInAll"
       from tollgate.ledger_entries e
      where e.organization_id = $1 and e.kind in ('hold', 'capture', 'release', 'refund', 'adjustment', 'grant')
      order by e.entry_number`,
    [organizationId],
  );
  const isTaken = new Set<Entry>();
  for (const call of history) {
    const own = call.rows.flatMap((row, index) => {
      const entry = entries.find((one) => !isTaken.has(one) && isOf(one, row, call.answers?.[index] ?? null));
      // Whoever has an answer has the entry for himself.
      if (entry !== undefined && call.answers !== null) isTaken.add(entry);
      return entry?.place ?? [];
    });
    if (own.length > 0) call.place = Math.min(...own);
  }
}

function isOf({ kind, holdId, amount, amountInAll }: Entry, row: Command, answer: Answer | null): boolean {
  if (answer !== null && 'isRepeat' in answer && answer.isRepeat) return false;
  const outcome = answer !== null && 'outcome' in answer ? answer.outcome : null;
  switch (row.verb) {
    case 'hold':
      return kind === 'hold' && holdId === row.holdId && (answer === null || outcome === 'held');
    case 'grow':
      return (
        kind === 'hold' &&
        holdId === row.holdId &&
        (answer === null
          ? amount === row.amount
          : outcome === 'grown' && 'amount' in answer && answer.amount === amountInAll)
      );
    case 'capture':
      return (
        holdId === row.holdId &&
        (answer === null
          ? kind === 'capture'
          : outcome === 'captured' &&
            'capturedInAll' in answer &&
            (answer.captured > 0 ? kind === 'capture' && answer.capturedInAll === amountInAll : kind === 'release'))
      );
    case 'release':
      return kind === 'release' && holdId === row.holdId && (answer === null || outcome === 'released');
    case 'refund':
      return (
        kind === 'refund' &&
        holdId === row.chargeId.replace(/\.\d+$/, '') &&
        (answer === null || (outcome === 'refunded' && 'refunded' in answer && answer.refunded === amount))
      );
    case 'adjust':
      return kind === 'adjustment' && outcome === 'adjusted' && amount <= Math.abs(row.change);
    case 'grant':
      return kind === 'grant' && amount === row.amount;
    default:
      return false;
  }
}
