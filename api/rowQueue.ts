import { LedgerBusy } from '../db/coalescer.ts';

/** Half a statement of the coalescer, so that those who call one by one stand in every statement beside an array's rows. */
const ROWS_AT_ONCE = 128;
const MOST_ARRAYS = 16;

/**
 * Arrays go through the coalescer like everybody else, row by row in their order, but an organization has one array under way
 * and that has `rowsAtOnce` rows there at most. So the coalescer's queue bounds arrays too, no array fills it, and a single
 * call waits behind a part of one. Further arrays of the organization wait here, `mostArrays` at most.
 */
export function createRowQueue({ rowsAtOnce = ROWS_AT_ONCE, mostArrays = MOST_ARRAYS } = {}) {
  const queues = new Map<string, { arrays: number; last: Promise<unknown> }>();

  /**
   * What became of each row: its answer, or what it failed with. Once a whole part of an array met nothing but trouble, the
   * parts behind it are not sent and fail with LedgerBusy. Throws LedgerBusy, with nothing done, when too many arrays wait.
   */
  return async function send<Row, Answer>(
    organizationId: string,
    rows: readonly Row[],
    call: (row: Row) => Promise<Answer>,
  ): Promise<PromiseSettledResult<Answer>[]> {
    const queue = queues.get(organizationId) ?? { arrays: 0, last: Promise.resolve() };
    if (queue.arrays === mostArrays)
      throw new LedgerBusy(`${mostArrays} arrays of the organization are waiting already.`);
    queues.set(organizationId, queue);
    queue.arrays += 1;
    const sent = queue.last.then(() => sendInParts(rows, call));
    queue.last = sent;
    try {
      return await sent;
    } finally {
      queue.arrays -= 1;
      if (queue.arrays === 0) queues.delete(organizationId);
    }
  };

  async function sendInParts<Row, Answer>(rows: readonly Row[], call: (row: Row) => Promise<Answer>) {
    const results: PromiseSettledResult<Answer>[] = [];
    while (results.length < rows.length) {
      const part = rows.slice(results.length, results.length + rowsAtOnce);
      const settled = await Promise.allSettled(part.map(call));
      results.push(...settled);
      if (settled.every(({ status }) => status === 'rejected')) {
        while (results.length < rows.length) results.push({ status: 'rejected', reason: NOT_SENT });
      }
    }
    return results;
  }
}

const NOT_SENT = new LedgerBusy('The rows before it in its array could not be done.');

export type RowQueue = ReturnType<typeof createRowQueue>;
