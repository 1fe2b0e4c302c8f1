import { createPool } from '../../db/pool.ts';
import { startDispatcher } from '../../worker/dispatcher.ts';

/**
 * A dispatcher in a process of its own that dies without a word when it has delivered the last of DELIVERIES events, before
 * that one is marked. Prints each delivery's event id.
 */
const { DATABASE_URL, SUBSCRIBER, DELIVERIES } = process.env as Record<string, string>;
let delivered = 0;
startDispatcher({
  pool: createPool({ url: DATABASE_URL!, applicationName: 'dying-dispatcher', maxConnections: 2 }),
  subscribers: [
    {
      name: SUBSCRIBER!,
      kinds: [SUBSCRIBER!],
      deliver: async ({ eventId }) => {
        delivered += 1;
        await new Promise<void>((resolve) => process.stdout.write(`${eventId}\n`, () => resolve()));
        if (delivered === Number(DELIVERIES)) process.kill(process.pid, 'SIGKILL');
      },
    },
  ],
  retentionMs: 86_400_000,
  log: { warn: () => {} },
});
