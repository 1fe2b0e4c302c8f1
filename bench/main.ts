import { writeFile } from 'node:fs/promises';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { benchCheck } from './check.ts';
import type { Figure, Knobs } from './figure.ts';

/**
 * `npm run bench [-- --only NAME] [-- --quick] [-- --json FILE]`: each benchmark against an honest foil in the same run, in
 * turns, so that whatever slows the machine slows both. Ratios are what counts; milliseconds are this machine's.
 */
const BENCHMARKS: Record<string, (knobs: Knobs) => Promise<Figure[]>> = { check: benchCheck };

const options = { only: { type: 'string' }, quick: { type: 'boolean' }, json: { type: 'string' } } as const;
const { only, quick = false, json } = parseArgs({ options }).values;
if (only !== undefined && !(only in BENCHMARKS)) {
  console.error(`There is no benchmark "${only}". There are: ${Object.keys(BENCHMARKS).join(', ')}`);
  process.exit(2);
}

const machine = {
  cpus: cpus().length,
  model: cpus()[0]?.model ?? 'unknown',
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  node: process.version,
};
console.log(
  `${machine.cpus} × ${machine.model}, ${machine.memoryGiB} GiB, Node ${machine.node}${quick ? ', quick' : ''}`,
);
const results: Record<string, Figure[]> = {};
for (const [name, run] of Object.entries(BENCHMARKS)) {
  if (only !== undefined && only !== name) continue;
  console.log(`\n${name}`);
  results[name] = await run({ isQuick: quick, say: (line) => console.log(`  ${line}`) });
  console.log(`  ${''.padEnd(28)}${'product'.padStart(10)}${'foil'.padStart(10)}${'ratio'.padStart(8)}`);
  for (const { name: figure, product, foil, ratio, unit } of results[name]) {
    console.log(
      `  ${figure.padEnd(28)}${`${product.toFixed(2)} ${unit}`.padStart(10)}${`${foil.toFixed(2)} ${unit}`.padStart(10)}${`${ratio.toFixed(2)}x`.padStart(8)}`,
    );
  }
}
if (json !== undefined) {
  await writeFile(json, `${JSON.stringify({ at: new Date().toISOString(), quick, machine, results }, null, 2)}\n`);
}
