import pg from 'pg';

/** `bigint` columns arrive as numbers: every amount is at most 2^53 − 1 (the functions refuse more), and more is a bug. */
function parseBigint(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} does not fit a number`);
  return value;
}

const INT8 = 20;

const types: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 && format !== 'binary'
      ? parseBigint
      : pg.types.getTypeParser(oid, format as 'text')) as typeof pg.types.getTypeParser,
};

const failedToConnect = new WeakSet<object>();

/** Whether this is what a pool of ours met before it had a connection: nothing can have been sent. */
export function isBeforeConnection(error: unknown): boolean {
  return typeof error === 'object' && error !== null && failedToConnect.has(error);
}

/**
 * Remembers what went wrong on the way to a connection: refused, none free in time, lost while it was being opened. The
 * driver throws the same plain errors for these as for a connection that was lost with a statement on it.
 */
class LedgerPool extends pg.Pool {
  override connect(): Promise<pg.PoolClient>;
  override connect(callback: ConnectCallback): void;
  override connect(callback?: ConnectCallback): Promise<pg.PoolClient> | undefined {
    const remember = (error: object) => void failedToConnect.add(error);
    if (callback !== undefined) {
      super.connect((error, client, done) => {
        if (error !== undefined) remember(error);
        callback(error, client, done);
      });
      return undefined;
    }
    const connected = super.connect();
    connected.catch(remember);
    return connected;
  }
}

type ConnectCallback = (
  error: Error | undefined,
  client: pg.PoolClient | undefined,
  done: (release?: unknown) => void,
) => void;

/**
 * The process's connections to the ledger. Bounded in number and in every wait: a statement that hangs on a lock must
 * free its connection, and a long-open snapshot would starve hot rows.
 */
export function createPool(options: {
  url: string;
  applicationName: string;
  maxConnections?: number;
  /** Null for work that takes as long as the database is large. */
  queryTimeoutMs?: number | null;
  onError?: (error: Error) => void;
}): pg.Pool {
  const pool = new LedgerPool({
    connectionString: options.url,
    application_name: options.applicationName,
    max: options.maxConnections ?? 10,
    connectionTimeoutMillis: 3_000,
    idleTimeoutMillis: 30_000,
    statement_timeout: 10_000,
    lock_timeout: 5_000,
    idle_in_transaction_session_timeout: 5_000,
    // Ours, for a server that has gone silent and so cannot keep its own; a little longer than those.
    ...(options.queryTimeoutMs === null ? {} : { query_timeout: options.queryTimeoutMs ?? 12_000 }),
    keepAlive: true,
    types,
  });
  // An idle connection that the server closes (a restart, a kill) emits here; without a listener it ends the process.
  pool.on('error', (error) => options.onError?.(error));
  return pool;
}
