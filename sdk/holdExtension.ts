import { laterUnheld, now } from './backOff.ts';
import type { Connection } from './connection.ts';
import { TollgateError } from './tollgateError.ts';

const SHORTEST_PAUSE_MS = 100;

/**
 * Extends a hold while its work runs: at half of what is left of its lifetime, and, where that fails, again at half of what is
 * left then. `onLapse` is called once: when Tollgate says that the hold has ended, or when its lifetime is over and no extension has got through.
 *
 * The lifetime is counted here from before the request that began it, so whatever the clocks of both sides say, the hold lives
 * at least that long.
 */
export function keepExtending(
  connection: Connection,
  hold: { extendLink: string; lifetimeSeconds: number; livesUntil: number },
  onLapse: (error: TollgateError) => void,
): { stop(): void } {
  const stopped = new AbortController();
  let { livesUntil } = hold;
  let timer = next();

  function next() {
    const leftMs = Math.max(0, livesUntil - now());
    return laterUnheld(() => void extend(), Math.max(leftMs / 2, Math.min(leftMs, SHORTEST_PAUSE_MS)));
  }

  async function extend(): Promise<void> {
    const askedAt = now();
    if (askedAt >= livesUntil) return lapsed(undefined);
    try {
      await connection.send({
        method: 'post',
        path: hold.extendLink,
        body: { lifetimeSeconds: hold.lifetimeSeconds },
        isRepeatable: true,
        deadlineMs: livesUntil - askedAt,
        signal: stopped.signal,
      });
      livesUntil = Math.max(livesUntil, askedAt + hold.lifetimeSeconds * 1_000);
    } catch (error) {
      if (stopped.signal.aborted) return;
      const { status = null } = error as Partial<TollgateError>;
      if (status === 404 || status === 409) return lapsed(error);
    }
    if (!stopped.signal.aborted) timer = next();
  }

  function lapsed(cause: unknown): void {
    const detail = 'The hold has lapsed: its tokens are no longer set aside for this work.';
    onLapse(new TollgateError({ code: 'hold_lapsed', detail, cause, isOutage: cause === undefined }));
  }

  return {
    stop: () => {
      stopped.abort();
      timer.cancel();
    },
  };
}
