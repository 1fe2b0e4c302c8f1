import { setImmediate as turn } from 'node:timers/promises';

export interface Call<Verb> {
  verb: Verb;
  row: unknown;
  /** Calls with the same one are sent in the order in which they came; null: in any. */
  orderKey: string | null;
  /** Calls with the same one that wait together are one row; null: this one stays by itself. */
  shareKey: string | null;
  /** Who is told. More than one where a row is shared. */
  waiters: { resolve: (answer: unknown) => void; reject: (error: unknown) => void }[];
}

export interface Lane<Verb> {
  add(call: Call<Verb>): void;
  /** How many callers wait for a call that was not sent yet. */
  waiting(): number;
  /** Rejects everybody who waits, and resolves when what is in flight has been answered. */
  close(error: Error): Promise<void>;
}

/**
 * Sends calls verb by verb, one statement at a time: the first at once, then what has collected while the one before was in
 * flight. Verbs take turns. `send` answers every waiter of its calls and never rejects.
 */
export function createLane<Verb>({
  maxBatch,
  send,
}: {
  maxBatch: number;
  send: (verb: Verb, calls: Call<Verb>[]) => Promise<unknown>;
}): Lane<Verb> {
  /** What may be sent now. A verb that was just served comes last. */
  const ready = new Map<Verb, Call<Verb>[]>();
  /** For each order key that waits: how many of its calls are ready, all of one verb, and those that must come after. */
  const queues = new Map<string, { verb: Verb; ready: number; behind: Call<Verb>[] }>();
  const shared = new Map<string, Call<Verb>>();
  let waiting = 0;
  let running: Promise<void> | null = null;

  function add(call: Call<Verb>): void {
    waiting += call.waiters.length;
    if (!join(call)) order(call);
    running ??= run();
  }

  /** Only while the row waits: a statement in flight may have read the balance before this call was made. */
  function join({ shareKey, waiters }: Call<Verb>): boolean {
    const same = shareKey === null ? undefined : shared.get(shareKey);
    same?.waiters.push(...waiters);
    return same !== undefined;
  }

  function order(call: Call<Verb>): void {
    if (call.shareKey !== null) shared.set(call.shareKey, call);
    if (call.orderKey !== null) {
      const queue = queues.get(call.orderKey);
      if (queue === undefined) queues.set(call.orderKey, { verb: call.verb, ready: 1, behind: [] });
      else if (queue.verb === call.verb && queue.behind.length === 0) queue.ready += 1;
      else {
        queue.behind.push(call);
        return;
      }
    }
    makeReady(call);
  }

  function makeReady(call: Call<Verb>): void {
    const calls = ready.get(call.verb);
    if (calls === undefined) ready.set(call.verb, [call]);
    else calls.push(call);
  }

  async function run(): Promise<void> {
    for (let batch = take(); batch !== null; batch = take()) {
      await send(batch.verb, batch.calls);
      // Whoever was answered just now and calls again belongs to the next batch. Some promises lie between him and here:
      // without this turn of the event loop the next statement could leave with the first of them alone. One who was alone
      // need not wait for it (30 µs).
      if (batch.callers > 1) await turn();
    }
    running = null;
  }

  function take(): { verb: Verb; calls: Call<Verb>[]; callers: number } | null {
    for (const [verb, queue] of ready) {
      const calls = queue.splice(0, maxBatch);
      ready.delete(verb);
      if (queue.length > 0) ready.set(verb, queue);
      const callers = calls.reduce((sum, { waiters }) => sum + waiters.length, 0);
      for (const call of calls) leave(call);
      return { verb, calls, callers };
    }
    return null;
  }

  /** The call is on its way. The next statement starts when it has been answered, so what was behind it may be in that. */
  function leave({ orderKey, shareKey, waiters }: Call<Verb>): void {
    waiting -= waiters.length;
    if (shareKey !== null) shared.delete(shareKey);
    const queue = orderKey === null ? undefined : queues.get(orderKey);
    if (queue === undefined) return;
    queue.ready -= 1;
    if (queue.ready > 0) return;
    queues.delete(orderKey!);
    for (const call of queue.behind) order(call);
  }

  return {
    add,
    waiting: () => waiting,
    async close(error) {
      const left = [...ready.values()].flat().concat([...queues.values()].flatMap(({ behind }) => behind));
      for (const map of [ready, queues, shared]) map.clear();
      waiting = 0;
      for (const { reject } of left.flatMap(({ waiters }) => waiters)) reject(error);
      await running;
    },
  };
}
