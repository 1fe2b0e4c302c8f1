import { mkdir, writeFile } from 'node:fs/promises';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Figure } from './figure.ts';
import { plotCurve } from './plot.ts';
import type { CurvePoint } from './series.ts';
import { COLUMNS, cellsOf } from './table.ts';

/** Writes the run's table, and its plot where it has a curve, into bench/results. Answers their paths. */
export async function saveReport(run: {
  at: string;
  /** Of a part; null for a whole run. */
  name: string | null;
  machine: Record<string, string>;
  figures: readonly Figure[];
  curve: readonly CurvePoint[] | undefined;
}): Promise<string[]> {
  const { at, name, machine, figures, curve } = run;
  const stem = [at.slice(0, 10), ...(name ? [name] : [])].join('-');
  const folder = new URL('results/', import.meta.url);
  await mkdir(folder, { recursive: true });

  const knobs = Object.entries(machine).map(([key, value]) => `${key} ${value}`);
  const row = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const lines = [
    `# ${name ?? 'Whole run'}, ${at.slice(0, 16).replace('T', ' ')} UTC`,
    '',
    `${knobs.join(' · ')}.`,
    'Ours and the foil by turns in one run; medians of the rounds; ratio is ours / foil, spread its lowest and highest round',
    '(for the lone caller the 95 % interval of the median). What is measured and what the foils are: [README](../README.md).',
    '',
    ...(curve ? [`![holds per second and p99 by the number of callers](${stem}.svg)`, ''] : []),
    row(COLUMNS),
    row(COLUMNS.map((_, column) => (column === 0 ? '---' : '--:'))),
    ...figures.map((figure) => row(cellsOf(figure))),
  ];
  const files = [new URL(`${stem}.md`, folder)];
  await writeFile(files[0]!, `${lines.join('\n')}\n`);
  if (curve) {
    const plot = new URL(`${stem}.svg`, folder);
    await writeFile(plot, plotCurve(curve));
    files.push(plot);
  }
  return files.map((file) => relative(process.cwd(), fileURLToPath(file)));
}
