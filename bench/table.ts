import type { Figure } from './figure.ts';

export const COLUMNS = ['', 'ours', 'foil', 'ratio', 'spread', 'goal', ''] as const;

/** A figure as the cells of a table, in the order of the columns. */
export function cellsOf({ title, ours, foil, unit, ratio, spread, goal, met }: Figure): string[] {
  return [
    title,
    `${numberText(ours)} ${unit}`,
    foil === null ? '–' : `${numberText(foil)} ${unit}`,
    ratio === null ? '–' : `${numberText(ratio)}x`,
    spread === null ? '–' : `${numberText(spread[0])}–${numberText(spread[1])}`,
    goal ?? '–',
    goal === null ? '' : met === null ? 'cannot tell' : met ? 'met' : 'not met',
  ];
}

/** For the terminal: titles to the left, values to the right. */
export function figureLines(figures: readonly Figure[]): string[] {
  const rows = [[...COLUMNS], ...figures.map(cellsOf)];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  );
}

/** Three digits that mean something. */
function numberText(value: number): string {
  if (value === 0 || Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  return value
    .toPrecision(3)
    .replace(/^(-?\d+\.\d*?)0+$/, '$1')
    .replace(/\.$/, '');
}
