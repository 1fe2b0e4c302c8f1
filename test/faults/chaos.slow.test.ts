import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { runChaos } from '../../dev/chaos.ts';
import { startStack } from '../../dev/stack.ts';

test('C5, C7, C8: under kill -9 of worker, API, PostgreSQL and Temporal at random moments every accepted job is charged or refunded within two minutes', async () => {
  const stack = await startStack({
    stateDirectory: await mkdtemp(join(tmpdir(), 'tollgate-chaos-')),
    ports: 'free',
    ephemeral: true,
    say: () => {},
  });
  try {
    const report = await runChaos({
      stack,
      seed: Math.floor(Math.random() * 1_000_000),
      durationMs: 60_000,
      callers: 4,
      say: console.log,
    });
    console.log(JSON.stringify(report));
    expect(report.acknowledged).toBeGreaterThan(0);
    expect(Object.values(report.kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
    expect(report).toMatchObject({ stuck: [], lost: [], findings: [] });
  } finally {
    await stack.stop();
  }
});
