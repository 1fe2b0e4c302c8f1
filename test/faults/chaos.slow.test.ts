import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runChaos } from '../../dev/chaos.ts';
import { type Stack, startStack } from '../../dev/stack.ts';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({
    stateDirectory: await mkdtemp(join(tmpdir(), 'tollgate-chaos-')),
    ports: 'free',
    ephemeral: true,
    say: () => {},
  });
});
afterAll(() => stack.stop());

const chaos = (durationMs: number) =>
  runChaos({ stack, seed: Math.floor(Math.random() * 1_000_000), durationMs, callers: 4, say: console.log });

test('a run that is over before anything was killed ends, and waits for nobody to come back', async () => {
  expect(await chaos(0)).toMatchObject({ kills: {}, acknowledged: 0, stuck: [], lost: [], findings: [] });
});

test('C5, C7, C8: under kill -9 of worker, API, PostgreSQL and Temporal at random moments every accepted job is charged or refunded within two minutes', async () => {
  const report = await chaos(60_000);
  console.log(JSON.stringify(report));
  expect(report.acknowledged).toBeGreaterThan(0);
  expect(Object.values(report.kills).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(5);
  expect(report).toMatchObject({ stuck: [], lost: [], findings: [] });
});
