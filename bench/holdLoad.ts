import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { openOurs } from './ours.ts';
import { type Round, runFor, runWhile } from './rounds.ts';
import { CALLERS, HOT } from './series.ts';

/**
 * The hot organization's full hold load, from a thread of its own as from another process of the product, so that it takes
 * the database and the processor but not the event loop of whoever measures beside it.
 */
export async function startHoldLoad(apiUrl: string): Promise<{ stop(): Promise<Round> }> {
  const worker = new Worker(new URL(import.meta.url), { workerData: apiUrl });
  await once(worker, 'message');
  return {
    stop: async () => {
      worker.postMessage('stop');
      const [round] = await once(worker, 'message');
      await once(worker, 'exit');
      return round;
    },
  };
}

if (!isMainThread) {
  const side = openOurs(workerData as string);
  let isOver = false;
  parentPort!.once('message', () => {
    isOver = true;
  });
  // Measured once it is warm.
  await runFor({ callers: CALLERS, forMs: 1_000, work: () => side.hold(HOT) });
  parentPort!.postMessage('started');
  parentPort!.postMessage(await runWhile({ callers: CALLERS, goesOn: () => !isOver, work: () => side.hold(HOT) }));
  await side.close();
}
