import { ApplicationFailure, Context } from '@temporalio/activity';
import { TemporalFailure } from '@temporalio/common';
import pg from 'pg';
import { DatabaseFault } from '../db/faults.ts';

/**
 * Runs a call of the database and, when it fails, says why in words that may stand in Temporal: the function and the
 * SQLSTATE. The database's own message and detail can quote a row, and rows hold prompts. Everything is retried: what is
 * a bug waits, visibly, for its fix.
 */
export async function withReason<T>(name: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof DatabaseFault) {
      const state = error.sqlState === null ? '' : ` (SQLSTATE ${error.sqlState})`;
      throw ApplicationFailure.retryable(`${name}: the database is not available${state}`, 'DatabaseFault');
    }
    if (error instanceof pg.DatabaseError) {
      throw ApplicationFailure.retryable(
        `${name}: the database refused the call (SQLSTATE ${error.code})`,
        'DatabaseError',
      );
    }
    throw error instanceof TemporalFailure ? error : asBug(name, error);
  }
}

/**
 * What nobody expected. Its message may quote the input (JSON.parse does), so Temporal gets its class and the log gets its
 * class and where it was thrown. Retried, like everything that a deploy may fix.
 */
export function asBug(where: string, error: unknown): ApplicationFailure {
  const className = error instanceof Error ? error.constructor.name : typeof error;
  // In the text, not beside it: the worker's log takes over no more than that.
  Context.current().log.error(`${className} in ${where}${framesOf(error)}`);
  return ApplicationFailure.retryable(`${className} in ${where}; see the worker's log.`, className);
}

/** A stack without its head, which repeats the message; nothing when where the head ends cannot be told. */
function framesOf(error: unknown): string {
  if (!(error instanceof Error) || !error.stack?.includes(error.message)) return '';
  return error.stack
    .slice(error.stack.indexOf(error.message) + error.message.length)
    .split('\n')
    .filter((line) => /^ {4}at \S/.test(line))
    .map((line) => `\n${line}`)
    .join('');
}
