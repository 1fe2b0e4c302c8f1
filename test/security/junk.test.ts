import { expect, test } from 'vitest';
import { expectJunkIsRefused } from './junk.ts';

// S4, S5, S6: as many as everybody's run has room for. junk.slow.test.ts sends more.
test('whatever is sent to whatever operation is answered as the reference says, never with 500, and moves nothing of others', async () => {
  const sent = await expectJunkIsRefused({ runs: Number(process.env.JUNK_RUNS ?? 12) });
  console.log(
    `${sent.requests} requests: ${sent.valid} as the schemas say, ${sent.nearly} nearly so, ${sent.junk} junk`,
  );
  expect(sent.done).toBeGreaterThan(0);
}, 120_000);
