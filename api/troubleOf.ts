import type { Logger } from 'pino';
import type { ProblemCode } from '../contract/problems.ts';
import { LedgerBusy } from '../db/coalescer.ts';
import { DatabaseFault, isRefusedByRights } from '../db/faults.ts';

/** What the caller is told of something that was thrown, whole request or one row of an array; the log is told the rest. */
export function troubleOf(error: unknown, log: Logger, requestId: string): ProblemCode {
  if (error instanceof DatabaseFault) {
    const reason = (error.cause as Error | undefined)?.message;
    log.warn({ requestId, sqlState: error.sqlState, reason }, 'the database is not available');
    return 'database_unavailable';
  }
  if (error instanceof LedgerBusy) {
    log.warn({ requestId, reason: error.message }, 'a call of the ledger was not taken');
    return 'ledger_busy';
  }
  if (isRefusedByRights(error)) {
    log.error({ requestId, err: error }, 'the database refused a row or a right');
    return 'not_your_organization';
  }
  log.error({ requestId, err: error }, 'a bug');
  return 'internal_error';
}
