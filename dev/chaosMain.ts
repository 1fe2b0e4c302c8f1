import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runChaos } from './chaos.ts';
import { endWithNpm } from './endWithNpm.ts';
import { startStack } from './stack.ts';

/** `npm run chaos -- [--seconds 60] [--seed N] [--callers 4]`: on a stack of its own; exit 0 only if the books agree. */
const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string' },
    callers: { type: 'string', default: '4' },
  },
});
const began = performance.now();
const say = (line: string) => console.log(`${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}`);

const stack = await startStack({
  stateDirectory: await mkdtemp(join(tmpdir(), 'tollgate-chaos-')),
  ports: 'free',
  ephemeral: true,
  say: (line) => say(`    ${line}`),
});
const interrupted = () => {
  const end = () => process.exit(130);
  stack.stop().then(end, end);
};
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupted);
endWithNpm(interrupted);
try {
  const { findings, stuck, lost, ...figures } = await runChaos({
    stack,
    seed: Number(values.seed ?? Math.floor(Math.random() * 1_000_000)),
    durationMs: Number(values.seconds) * 1000,
    callers: Number(values.callers),
    say,
  });
  console.log(JSON.stringify(figures, null, 2));
  for (const id of stuck) console.log(`✗ job ${id} has not ended`);
  for (const id of lost) console.log(`✗ job ${id} was accepted and is not in the database`);
  for (const finding of findings) console.log(`✗ ${finding.check}: ${finding.sentence}`, finding.rows);
  process.exitCode = stuck.length + lost.length + findings.length === 0 ? 0 : 1;
  console.log(
    process.exitCode === 0 ? '✓ every accepted job has ended, and the books agree' : '✗ the books do not agree',
  );
} finally {
  await stack.stop();
}
