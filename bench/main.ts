import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { startDatabases } from './databases.ts';
import type { Figure } from './figure.ts';
import { readMachine } from './machine.ts';
import { saveReport } from './report.ts';
import { check } from './series/check.ts';
import { concurrency } from './series/concurrency.ts';
import { distance } from './series/distance.ts';
import { endurance } from './series/endurance.ts';
import { hotCycle, hotHold } from './series/hot.ts';
import { lone } from './series/lone.ts';
import { rowSecurity } from './series/rowSecurity.ts';
import { traceReplay } from './series/traceReplay.ts';
import { uniform } from './series/uniform.ts';
import { wal } from './series/wal.ts';
import type { CurvePoint, Series } from './series.ts';
import { figureLines } from './table.ts';

/** `npm run bench`: see bench/README.md. Ratios are what counts; milliseconds are this machine's. */
const SERIES: Record<string, Series> = {
  'hot-hold': hotHold,
  'hot-cycle': hotCycle,
  uniform,
  distance,
  lone,
  check,
  wal,
  'row-security': rowSecurity,
  trace: traceReplay,
  concurrency,
  endurance,
};
const QUICK = ['hot-hold', 'hot-cycle', 'lone', 'check'];
/** Twice ten minutes and more: only when it is asked for. */
const ON_REQUEST = ['endurance'];

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    save: { type: 'boolean', default: false },
    minutes: { type: 'string', default: '10' },
    trace: { type: 'string' },
  },
});
const { only, quick: isQuick } = values;
const minutes = Number(values.minutes);
if (only !== undefined && !(only in SERIES))
  stopWith(`There is no series "${only}". There are: ${Object.keys(SERIES).join(', ')}`);
if (!Number.isInteger(minutes) || minutes < 2) stopWith('--minutes takes a whole number from 2 on');

const names = only ? [only] : isQuick ? QUICK : Object.keys(SERIES).filter((name) => !ON_REQUEST.includes(name));
const at = new Date().toISOString();
const began = performance.now();
const say = (line: string) => console.log(`${clock()}  ${line}`);

const databases = await startDatabases(say);
const machine = { ...readMachine(), ...databases.knobs };
console.log(
  Object.entries(machine)
    .map(([name, value]) => `${name} ${value}`)
    .join(', '),
);
const figures: Figure[] = [];
let curve: CurvePoint[] | undefined;
try {
  for (const [n, name] of names.entries()) {
    console.log(`\n${name} (${n + 1} of ${names.length})`);
    const bench = { databases, isQuick, minutes, traceFile: values.trace, say };
    const measured = await SERIES[name]!(bench);
    for (const line of figureLines(measured.figures)) console.log(line);
    figures.push(...measured.figures);
    curve ??= measured.curve;
  }
} finally {
  await databases.stop();
}

console.log(`\nAll of it, after ${clock().trim()}:`);
for (const line of figureLines(figures)) console.log(line);
if (values.json) {
  const rows = figures.map((figure) => ({ ...figure, at, isQuick, machine }));
  await writeFile(values.json, `${JSON.stringify(rows, null, 2)}\n`);
}
// A whole run is kept; a part or a quick one only when it is asked for.
if (values.save || (!only && !isQuick)) {
  for (const file of await saveReport({ at, name: only ?? (isQuick ? 'quick' : null), machine, figures, curve })) {
    console.log(`kept in ${file}`);
  }
}

function clock(): string {
  const seconds = Math.floor((performance.now() - began) / 1_000);
  return `${Math.floor(seconds / 60)}:${`${seconds % 60}`.padStart(2, '0')}`.padStart(7);
}

function stopWith(message: string): never {
  console.error(message);
  process.exit(2);
}
