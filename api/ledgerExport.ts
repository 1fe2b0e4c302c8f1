import type { Pool } from 'pg';
import type { ExportFormat, LedgerHead } from '../contract/ledger.ts';
import { entriesBetween, type LedgerEntry, ledgerHeads } from '../db/ledger.ts';
import { csvLine, jsonLine } from './fileLine.ts';

const ENTRIES_PER_PAGE = 1_000;

const COLUMNS = [
  ...(['organizationId', 'tokenType', 'entryNumber', 'kind', 'from', 'to', 'amount'] as const),
  ...(['availableAfter', 'heldAfter', 'owedAfter', 'holdId', 'grantId', 'actor', 'effectiveAt', 'createdAt'] as const),
  'sealNumber',
] as const satisfies readonly (keyof LedgerEntry)[];

export interface ExportRequest {
  pool: Pool;
  organizationId: string;
  tokenType: string | undefined;
  format: ExportFormat;
  signHead: (head: Awaited<ReturnType<typeof ledgerHeads>>[number]) => LedgerHead;
}

/**
 * The ledger as text, oldest first, a page of entries at a time: each is read when the one before has been taken, in a
 * snapshot of its own, so neither memory nor the database holds more than a page, however slow the reader.
 * How far it goes is fixed at the start; entries up to there never change.
 *
 * JSON Lines: `{"entry": …}` each, and at the end `{"head": …}` for each token type. Without that last part it is cut off.
 * CSV: rows alone, since programs that read it know no other kind of line; its heads are at /ledger/heads.
 */
export async function* exportLedger({
  pool,
  organizationId,
  tokenType,
  format,
  signHead,
}: ExportRequest): AsyncGenerator<string> {
  const heads = await ledgerHeads(pool, organizationId, tokenType);
  if (format === 'csv') yield csvLine([...COLUMNS]);
  for (const head of heads) {
    for (let from = 1; from <= head.lastBooked; from += ENTRIES_PER_PAGE) {
      const to = Math.min(head.lastBooked, from + ENTRIES_PER_PAGE - 1);
      const entries = await entriesBetween(pool, { organizationId, tokenType: head.tokenType, from, to });
      if (entries.length !== to - from + 1) throw new Error(`the ledger has a gap between ${from} and ${to}`);
      yield entries
        // Sealed since the export began: its head does not cover them.
        .map((entry) => (entry.entryNumber > head.lastEntry ? { ...entry, sealNumber: null } : entry))
        .map((entry) => (format === 'csv' ? csvLine(COLUMNS.map((column) => entry[column])) : jsonLine({ entry })))
        .join('');
    }
  }
  if (format === 'jsonl') yield heads.map((head) => jsonLine({ head: signHead(head) })).join('');
}
