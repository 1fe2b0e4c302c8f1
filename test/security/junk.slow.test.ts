import { expect, test } from 'vitest';
import { expectJunkIsRefused } from './junk.ts';

test('ten times as much junk is answered as the reference says', async () => {
  const sent = await expectJunkIsRefused({ runs: Number(process.env.JUNK_RUNS ?? 200) });
  console.log(
    `${sent.requests} requests: ${sent.valid} as the schemas say, ${sent.nearly} nearly so, ${sent.junk} junk`,
  );
  expect(sent.done).toBeGreaterThan(0);
});
