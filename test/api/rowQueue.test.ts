import { describe, expect, test } from 'vitest';
import { createRowQueue } from '../../api/rowQueue.ts';
import { LedgerBusy } from '../../db/coalescer.ts';

/** Calls that are answered by hand, oldest first. */
function calls() {
  const open: { row: number; answer: () => void; fail: (reason: unknown) => void }[] = [];
  const started: number[] = [];
  const call = (row: number) =>
    new Promise<number>((resolve, reject) => {
      started.push(row);
      open.push({ row, answer: () => resolve(row), fail: reject });
    });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const answerAll = async () => {
    for (const { answer } of open.splice(0)) answer();
    await turn();
  };
  return { call, open, started, answerAll, turn };
}
const rows = (count: number) => Array.from({ length: count }, (_, n) => n);
const values = (results: PromiseSettledResult<number>[]) =>
  results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason));

describe('arrays on their way to the coalescer', () => {
  test('have a part there at most, in order, and are answered in order', async () => {
    const send = createRowQueue({ rowsAtOnce: 3 });
    const { call, started, open, answerAll, turn } = calls();
    const sent = send('acme', rows(7), call);
    await turn();
    expect(open).toHaveLength(3);
    for (let part = 0; part < 3; part++) await answerAll();
    expect(started).toEqual(rows(7));
    expect(values(await sent)).toEqual(rows(7));
  });

  test('of one organization go one after the other; another organization’s does not wait', async () => {
    const send = createRowQueue({ rowsAtOnce: 2 });
    const { call, open, answerAll, turn } = calls();
    const sent = [send('acme', [1, 2], call), send('acme', [3], call), send('beta', [4], call)];
    await turn();
    expect(open.map(({ row }) => row).toSorted()).toEqual([1, 2, 4]);
    await answerAll();
    expect(open.map(({ row }) => row)).toEqual([3]);
    await answerAll();
    expect((await Promise.all(sent)).map(values)).toEqual([[1, 2], [3], [4]]);
  });

  test('over the bound are refused at once, until one is done', async () => {
    const send = createRowQueue({ mostArrays: 2 });
    const { call, answerAll, turn } = calls();
    const sent = [send('acme', [1], call), send('acme', [2], call)];
    await expect(send('acme', [3], call)).rejects.toBeInstanceOf(LedgerBusy);
    await turn();
    await answerAll();
    await sent[0];
    const third = send('acme', [3], call);
    await turn();
    await answerAll();
    await answerAll();
    expect((await Promise.all([sent[1]!, third])).map(values)).toEqual([[2], [3]]);
  });

  test('meet trouble row by row, and are not sent on once a whole part met nothing else', async () => {
    const send = createRowQueue({ rowsAtOnce: 2 });
    const { call, open, started, answerAll, turn } = calls();
    const sent = send('acme', rows(7), call);
    await turn();
    open.splice(0, 1)[0]!.fail('away');
    await answerAll();
    for (const { fail } of open.splice(0)) fail('away');
    const results = values(await sent);
    expect(results.slice(0, 4)).toEqual(['away', 1, 'away', 'away']);
    expect(results.slice(4).every((reason) => (reason as unknown) instanceof LedgerBusy)).toBe(true);
    expect(started).toEqual(rows(4));
  });
});
