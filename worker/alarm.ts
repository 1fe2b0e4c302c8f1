/** Sleep that ends early when somebody rings; a ring while nobody sleeps ends the next sleep at once. */
export function createAlarm(stopping: AbortSignal): {
  ring(): void;
  /** Answers whether it was rung. */
  sleep(ms: number): Promise<boolean>;
} {
  let hasRung = false;
  let wake = () => {};
  const ring = () => {
    hasRung = true;
    wake();
  };
  stopping.addEventListener('abort', ring, { once: true });
  return {
    ring,
    sleep: async (ms) => {
      if (!hasRung) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      const wasRung = hasRung;
      hasRung = false;
      return wasRung;
    },
  };
}
