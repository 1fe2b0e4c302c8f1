import type { Pool } from 'pg';
import type { ExportFormat } from '../contract/ledger.ts';
import { type UsageLine, type UsageLogRequest, type UsageSeries, usageLines } from '../db/usage.ts';
import { csvLine, jsonLine } from './fileLine.ts';

const LINES_PER_PAGE = 1_000;

const COLUMNS = [
  ...(['id', 'at', 'feature', 'tokenType', 'tokens', 'user', 'key', 'chargeId', 'holdId', 'jobId'] as const),
  'metadata',
] as const satisfies readonly (keyof UsageLine)[];

/**
 * The usage log as text, oldest first, a page of lines at a time: each is read when the one before has been taken, in a snapshot of
 * its own. Lines never change; those that are written meanwhile are in it too, unless `to` is over.
 */
export async function* exportUsage(
  pool: Pool,
  { format, ...request }: Omit<UsageLogRequest, 'order' | 'after' | 'limit'> & { format: ExportFormat },
): AsyncGenerator<string> {
  if (format === 'csv') yield csvLine([...COLUMNS]);
  let after: UsageLogRequest['after'] = null;
  for (;;) {
    const lines: UsageLine[] = await usageLines(pool, { ...request, order: 'oldest', after, limit: LINES_PER_PAGE });
    if (lines.length > 0) yield lines.map((line) => (format === 'csv' ? csvOf(line) : jsonLine(line))).join('');
    if (lines.length < LINES_PER_PAGE) return;
    const { at, id } = lines.at(-1)!;
    after = { at, id };
  }
}

/** A series as CSV. */
export function writeSeriesCsv({ buckets }: UsageSeries): string {
  const rows = buckets.map(({ startsAt, group, tokens, refunded, count }) =>
    csvLine([startsAt, group, tokens, refunded, count]),
  );
  return [csvLine(['startsAt', 'group', 'tokens', 'refunded', 'count']), ...rows].join('');
}

function csvOf({ metadata, ...line }: UsageLine): string {
  const text = JSON.stringify(metadata);
  return csvLine(COLUMNS.map((column) => (column === 'metadata' ? text : line[column])));
}
