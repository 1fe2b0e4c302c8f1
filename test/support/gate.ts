import type { Intercept } from './jobWorker.ts';

/** Lets the named activity wait at its door: `arrived` resolves when it stands there, `open` lets it in. */
export function gateAt(step: string): { intercept: Intercept; arrived: Promise<void>; open: () => void } {
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  return {
    arrived,
    open,
    intercept: async ({ name, run }) => {
      if (name === step) {
        arrive();
        await opened;
      }
      return run();
    },
  };
}
