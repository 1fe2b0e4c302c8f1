import type { CurvePoint } from './series.ts';

const WIDTH = 880;
const HEIGHT = 400;
const PANEL = { top: 84, width: 352, height: 244 };
const LEFTS = [64, 500];

/** Two panels on logarithmic scales, for light and for dark pages: holds per second and p99, by the number of callers. */
export function plotCurve(curve: readonly CurvePoint[]): string {
  const panels = [
    panel(LEFTS[0]!, 'holds per second', 'more is better', curve, (side) => side.perSecond),
    panel(LEFTS[1]!, 'p99, milliseconds', 'less is better', curve, (side) => side.p99),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-labelledby="title">
<title id="title">One hot organization: holds per second and p99 by the number of concurrent callers, ours and the usual way</title>
<style>
  svg { color-scheme: light dark; --paper: #ffffff; --ink: #1f2328; --quiet: #656d76; --grid: #d8dee4; --ours: #0a7d5c; --foil: #b35900 }
  @media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --ink: #e6edf3; --quiet: #9198a1; --grid: #30363d; --ours: #3fcf9e; --foil: #f0a35e } }
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; fill: var(--quiet) }
  .head { font-size: 15px; font-weight: 600; fill: var(--ink) }
  .name { font-weight: 600; fill: var(--ink) }
  .grid { stroke: var(--grid); stroke-width: 1 }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
  .ours { stroke: var(--ours) } .foil { stroke: var(--foil) }
  .dot { fill: var(--paper); stroke-width: 2 }
  text.ours { fill: var(--ours); stroke: none; font-weight: 600 } text.foil { fill: var(--foil); stroke: none; font-weight: 600 }
</style>
<rect width="${WIDTH}" height="${HEIGHT}" rx="8" fill="var(--paper)"/>
<text class="head" x="${LEFTS[0]}" y="36">One hot organization, holds</text>
${panels.join('\n')}
</svg>
`;
}

type Point = readonly [callers: number, value: number];

function panel(
  left: number,
  title: string,
  hint: string,
  curve: readonly CurvePoint[],
  quantity: (side: CurvePoint['ours']) => number,
): string {
  const points = (side: 'ours' | 'foil') => curve.map((point): Point => [point.callers, quantity(point[side])]);
  const [ours, foil] = [points('ours'), points('foil')];
  const values = [...ours, ...foil].map(([, value]) => value);
  const across = logScale(
    curve.map((point) => point.callers),
    [left, left + PANEL.width],
  );
  const bottom = PANEL.top + PANEL.height;
  const decades = decadesOf(values);
  const up = logScale(decades, [bottom, PANEL.top]);

  const grid = decades.map(
    (value) =>
      `<line class="grid" x1="${left}" x2="${left + PANEL.width}" y1="${up(value)}" y2="${up(value)}"/>` +
      `<text x="${left - 8}" y="${up(value) + 4}" text-anchor="end">${short(value)}</text>`,
  );
  const callers = curve.map(
    (point) => `<text x="${across(point.callers)}" y="${bottom + 20}" text-anchor="middle">${point.callers}</text>`,
  );
  const draw = (side: 'ours' | 'foil', name: string, line: readonly Point[], other: readonly Point[]) => {
    const places = line.map(([x, y]) => [across(x), up(y)] as const);
    const [x, y] = places.at(-1)!;
    // The name stands on the side of the line's end where the other line is not.
    const isAbove = line.at(-1)![1] >= other.at(-1)![1];
    return (
      `<polyline class="line ${side}" points="${places.map((place) => place.join(',')).join(' ')}"/>` +
      places.map(([cx, cy]) => `<circle class="dot ${side}" cx="${cx}" cy="${cy}" r="3.5"/>`).join('') +
      `<text class="${side}" x="${x}" y="${y + (isAbove ? -12 : 22)}" text-anchor="end">${name} ${short(line.at(-1)![1])}</text>`
    );
  };
  return [
    `<text x="${left}" y="${PANEL.top - 18}"><tspan class="name">${title}</tspan> · ${hint}</text>`,
    ...grid,
    ...callers,
    `<text x="${left + PANEL.width / 2}" y="${bottom + 42}" text-anchor="middle">concurrent callers</text>`,
    draw('foil', 'the usual way', foil, ours),
    draw('ours', 'Tollgate', ours, foil),
  ].join('\n');
}

function logScale(domain: readonly number[], [from, to]: readonly [number, number]): (value: number) => number {
  const [low, high] = [Math.log(Math.min(...domain)), Math.log(Math.max(...domain))];
  return (value) => Math.round((from + ((Math.log(value) - low) / (high - low || 1)) * (to - from)) * 10) / 10;
}

/** Powers of ten around the values. */
function decadesOf(values: readonly number[]): number[] {
  const low = Math.floor(Math.log10(Math.min(...values)));
  const high = Math.ceil(Math.log10(Math.max(...values)));
  return Array.from({ length: high - low + 1 }, (_, n) => 10 ** (low + n));
}

function short(value: number): string {
  if (value >= 10_000) return `${Math.round(value / 1_000)}k`;
  if (value >= 1_000) return `${Number((value / 1_000).toFixed(1))}k`;
  return value >= 10 ? `${Math.round(value)}` : `${Number(value.toPrecision(2))}`;
}
