import type { Pool } from 'pg';
import { type Coalescer, createCoalescer } from '../../db/coalescer.ts';
import { createPool } from '../../db/pool.ts';

export interface ObservedLedger extends Coalescer {
  /** Every statement that was sent, in order: the function called and how many rows it was given. */
  statements: [called: string, rows: number][];
  /** By this name its connections are found in pg_stat_activity. */
  applicationName: string;
  end(): Promise<void>;
}

let count = 0;

/** A coalescer over a pool of its own, whose statements are written down on their way to the database. */
export function observedLedger(url: string, options?: Parameters<typeof createCoalescer>[1]): ObservedLedger {
  const applicationName = `observed-${++count}`;
  const pool = createPool({ url, applicationName });
  const statements: ObservedLedger['statements'] = [];
  const query = pool.query.bind(pool) as (...args: unknown[]) => unknown;
  pool.query = ((...args: [string | { text: string; values: unknown[][] }, unknown[][]]) => {
    const [text, values] = typeof args[0] === 'string' ? [args[0], args[1]] : [args[0].text, args[0].values];
    statements.push([/from tollgate\.(\w+)/.exec(text)![1]!, values[0]!.length]);
    return query(...args);
  }) as Pool['query'];
  const ledger = createCoalescer(pool, options);
  return {
    ...ledger,
    statements,
    applicationName,
    end: async () => {
      await ledger.close();
      await pool.end();
    },
  };
}
