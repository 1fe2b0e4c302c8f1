import { expect, test, vi } from 'vitest';
import { runLedgerCrash } from './ledgerCrash.ts';

// A server is started, killed, and recovers, again and again.
vi.setConfig({ testTimeout: 90_000 });

const seed = Number(process.env.TOLLGATE_SEED ?? Math.floor(Math.random() * 1_000_000));

test('C8, C4: PostgreSQL killed with SIGKILL under batches: what was acknowledged is durable, what was in doubt is resolved by its id, each exactly once, and pools heal', async () => {
  const report = await runLedgerCrash({ seed, kills: 3, callers: 64, synchronousCommit: 'on', say: console.log });
  console.log(JSON.stringify({ ...report, differences: report.differences.length }));
  expect(report).toMatchObject({
    differences: [],
    contradictions: [],
    balances: [],
    findings: [],
    unhandledRejections: [],
    connections: { waiting: 0 },
  });
  expect(report.connections.idle).toBe(report.connections.open);
  // Otherwise nothing was tried.
  expect(report.repeats + report.foundDone).toBeGreaterThan(0);
});

test('C8, the control: with synchronous_commit off the same harness reports acknowledged answers that are lost', async () => {
  const report = await runLedgerCrash({ seed, kills: 1, callers: 64, synchronousCommit: 'off', say: console.log });
  console.log(`${report.differences.length} holds differ, ${report.contradictions.length} answers contradict`);
  // Acknowledged, and nothing of it is there.
  const lost = report.differences.filter(({ acknowledged, durable }) => acknowledged !== null && durable === null);
  expect(lost.length).toBeGreaterThan(0);
  expect(report.balances.length).toBeGreaterThan(0);
  // What is there is consistent in itself. So nothing but the acknowledgements can tell.
  expect(report.findings).toEqual([]);
});
