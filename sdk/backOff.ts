/** Milliseconds that only grow, whatever is done to the clock of the machine. */
export function now(): number {
  return performance.now();
}

/** How long to wait before a repeat: twice as long each time, up to a bound, and never in step with others. */
export function backOffMs(repeat: number, firstMs: number, mostMs: number): number {
  return Math.random() * Math.min(mostMs, firstMs * 2 ** Math.min(repeat, 30));
}

/** Waits; an abort ends it with the signal's reason. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

/** A timer that keeps no server from ending. */
export function laterUnheld(run: () => void, ms: number): { cancel(): void } {
  const timer = setTimeout(run, ms);
  (timer as { unref?: () => void }).unref?.();
  return { cancel: () => clearTimeout(timer) };
}

/** What is under way cannot be taken back: on an abort the caller goes on at once, and `undo` gets what comes of it. */
export async function orAborted<T>(
  underWay: Promise<T>,
  signal: AbortSignal | undefined,
  undo: (done: T) => Promise<unknown>,
): Promise<T> {
  if (signal === undefined) return underWay;
  let stop = () => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([underWay, aborted]);
  } catch (error) {
    // It failed itself, or there is something to undo once it is there.
    if (signal.aborted) underWay.then(undo).catch(() => {});
    throw error;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
