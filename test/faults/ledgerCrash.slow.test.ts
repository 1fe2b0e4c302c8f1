import { expect, test } from 'vitest';
import { runLedgerCrash } from './ledgerCrash.ts';

const seed = Number(process.env.TOLLGATE_SEED ?? Math.floor(Math.random() * 1_000_000));

test.each([
  { callers: 8, kills: 15 },
  { callers: 256, kills: 25 },
])(
  'C8, C4: $callers callers, PostgreSQL killed with SIGKILL $kills times: acknowledged and durable are the same, each exactly once',
  async ({ callers, kills }) => {
    const report = await runLedgerCrash({ seed, kills, callers, synchronousCommit: 'on', say: console.log });
    console.log(JSON.stringify({ ...report, differences: report.differences.length }));
    expect(report).toMatchObject({
      differences: [],
      contradictions: [],
      balances: [],
      findings: [],
      unhandledRejections: [],
      connections: { waiting: 0 },
    });
    expect(report.repeats).toBeGreaterThan(0);
    // Of so many kills, some fell between a commit and its answer.
    expect(report.foundDone).toBeGreaterThan(0);
  },
);
