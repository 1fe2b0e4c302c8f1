import { setTimeout as pause } from 'node:timers/promises';

const POLL_MS = 25;

/** Waits for an effect: asks until the answer is truthy, and answers it. Fails after `patienceMs`. */
export async function until<T>(
  ask: () => T | Promise<T>,
  patienceMs = 30_000,
): Promise<Exclude<T, undefined | null | false>> {
  const giveUpAt = Date.now() + patienceMs;
  for (;;) {
    const answer = await ask();
    if (answer) return answer as Exclude<T, undefined | null | false>;
    if (Date.now() > giveUpAt) throw new Error(`The effect did not come within ${patienceMs} ms: ${ask}`);
    await pause(POLL_MS);
  }
}
