import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/**/*.slow.test.ts'],
    globalSetup: ['test/support/services.ts'],
    // Forks, not threads: what a test starts is tethered to the process that started it.
    pool: 'forks',
    // One more than the two cores that this is measured on: many tests wait for processes that were killed.
    maxWorkers: 3,
    // Of what hangs, not of what is slow: the machine may be busy.
    testTimeout: 45_000,
    hookTimeout: 60_000,
    teardownTimeout: 60_000,
  },
});
