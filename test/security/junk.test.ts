import { expect, test } from 'vitest';
import { mount } from '../../api/mount.ts';
import { listHolds, releaseHold } from '../../contract/holds.ts';
import { expectJunkIsRefused } from './junk.ts';

// S4, S5, S6: as many as everybody's run has room for. junk.slow.test.ts sends more.
test('whatever is sent to whatever operation is answered as the reference says, never with 500, and moves nothing of others', async () => {
  const sent = await expectJunkIsRefused({ runs: Number(process.env.JUNK_RUNS ?? 8) });
  console.log(
    `${sent.requests} requests: ${sent.valid} as the schemas say, ${sent.nearly} nearly so, ${sent.junk} junk`,
  );
  expect(sent.done).toBeGreaterThan(0);
}, 120_000);

test('a handler that trusts what it is sent, and one that answers what is not documented, are caught', async () => {
  const trusting = expectJunkIsRefused({
    runs: 100,
    operations: [listHolds],
    plant: (routes, authentication) =>
      mount(routes, authentication, listHolds, (c) => {
        const room = new Array(Number(c.req.query('limit') ?? 1));
        return c.json({ holds: room.slice(0, 0), nextCursor: null });
      }),
  });
  await expect(trusting).rejects.toThrow('listHolds: not documented: 500');
  const odd = expectJunkIsRefused({
    runs: 1,
    operations: [releaseHold],
    plant: (routes, authentication) => mount(routes, authentication, releaseHold, (c) => c.json({ done: true }, 203)),
  });
  await expect(odd).rejects.toThrow('releaseHold: not documented: 203');
}, 60_000);
