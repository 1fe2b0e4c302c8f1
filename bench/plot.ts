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
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: #656d76 }
  .paper { fill: #ffffff } .dot { fill: #ffffff; stroke-width: 2 }
  .grid { stroke: #d8dee4; stroke-width: 1 }
  .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke-linecap: round }
  .ours { stroke: #0a7d5c } .foil { stroke: #b35900 }
  .head { font-size: 15px; font-weight: 600; fill: #1f2328 } .name { font-weight: 600; fill: #1f2328 }
  text.ours { fill: #0a7d5c; stroke: none; font-weight: 600 } text.foil { fill: #b35900; stroke: none; font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #9198a1 }
    .paper, .dot { fill: #0d1117 }
    .grid { stroke: #30363d }
    .ours { stroke: #3fcf9e } .foil { stroke: #f0a35e }
    .head, .name { fill: #e6edf3 }
    text.ours { fill: #3fcf9e; stroke: none } text.foil { fill: #f0a35e; stroke: none }
  }
</style>
<rect width="${WIDTH}" height="${HEIGHT}" rx="8" class="paper"/>
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
    const x = places.at(-1)![0];
    // The name stands on the side of the line's end where the other line is not, and clear of its last piece.
    const lastTwo = places.slice(-2).map(([, y]) => y);
    const y = line.at(-1)![1] >= other.at(-1)![1] ? Math.min(...lastTwo) - 12 : Math.max(...lastTwo) + 20;
    return (
      `<polyline class="line ${side}" points="${places.map((place) => place.join(',')).join(' ')}"/>` +
      places.map(([cx, cy]) => `<circle class="dot ${side}" cx="${cx}" cy="${cy}" r="3.5"/>`).join('') +
      `<text class="${side}" x="${x}" y="${y}" text-anchor="end">${name} ${short(line.at(-1)![1])}</text>`
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
