/** A line of the usage log, as far as series know it. Milliseconds. */
export interface Line {
  at: number;
  feature: string;
  tokens: number;
  user: string | null;
}

export interface Asked {
  timeZone: string;
  interval: 'hour' | 'day' | 'month';
  from: number;
  to: number;
  by: 'feature' | 'user' | null;
}

/**
 * The oracle of usage series. It knows nothing of the SQL: it walks through time by quarter hours, reads a clock on the wall (Intl), and
 * begins a bucket whenever the clock shows an hour, a day or a month that it has not shown yet; for
 * hours also whenever it was put forward or back.
 */
export function seriesOf(lines: readonly Line[], { timeZone, interval, from, to, by }: Asked) {
  const starts = startsOf({ timeZone, interval, from, to });
  const within = lines.filter(({ at }) => at >= from && at < to);
  const groupOf = (line: Line) => (by === null ? null : line[by]);
  const groups = by === null ? [null] : [...new Set(within.map(groupOf))];
  groups.sort((one, other) => (one === null ? 1 : other === null ? -1 : one < other ? -1 : 1));
  return starts.flatMap((startsAt, index) =>
    groups.map((group) => {
      const endsAt = starts[index + 1] ?? to;
      const own = within.filter((line) => line.at >= startsAt && line.at < endsAt && groupOf(line) === group);
      return {
        startsAt,
        group,
        tokens: own.reduce((sum, { tokens }) => sum + tokens, 0),
        refunded: own.reduce((sum, { tokens }) => sum + Math.max(0, -tokens), 0),
        count: own.filter(({ tokens }) => tokens > 0).length,
      };
    }),
  );
}

/** When a zone's clock is put forward or back between two instants. */
export function changesOf(timeZone: string, from: number, to: number): number[] {
  const found: number[] = [];
  for (let at = from; at < to; at += DAY_MS) {
    const before = offsetAt(at, timeZone);
    if (offsetAt(at + DAY_MS, timeZone) === before) continue;
    let quarter = at;
    while (offsetAt(quarter, timeZone) === before) quarter += QUARTER_MS;
    found.push(quarter);
  }
  return found;
}

const QUARTER_MS = 900_000;
const DAY_MS = 86_400_000;

/** Clocks keep to the quarter hours of UTC, and are changed on them. */
function startsOf({ timeZone, interval, from, to }: Omit<Asked, 'by'>): number[] {
  const starts = [from];
  let latest = shownAt(from, timeZone, interval);
  let offset = offsetAt(from, timeZone);
  for (let at = Math.floor(from / QUARTER_MS) * QUARTER_MS + QUARTER_MS; at < to; at += QUARTER_MS) {
    if (interval === 'month') while (shownAt(at + DAY_MS, timeZone, interval) === latest) at += DAY_MS;
    const shown = shownAt(at, timeZone, interval);
    const isMoved = interval === 'hour' && offsetAt(at, timeZone) !== offset;
    if (at >= to || (!isMoved && shown <= latest)) continue;
    offset = offsetAt(at, timeZone);
    latest = shown;
    starts.push(at);
  }
  return starts;
}

/** What the clock shows, down to the hour, the day or the month: `2025-10-26T02`. */
function shownAt(at: number, timeZone: string, interval: Asked['interval']): string {
  return new Date(at + offsetAt(at, timeZone)).toISOString().slice(0, { hour: 13, day: 10, month: 7 }[interval]);
}

const formats = new Map<string, Intl.DateTimeFormat>();
const offsets = new Map<string, Map<number, number>>();

function offsetAt(at: number, timeZone: string): number {
  const quarter = Math.floor(at / QUARTER_MS) * QUARTER_MS;
  const known = offsets.get(timeZone) ?? new Map<number, number>();
  offsets.set(timeZone, known);
  const offset = known.get(quarter) ?? readOffset(quarter, timeZone);
  known.set(quarter, offset);
  return offset;
}

function readOffset(at: number, timeZone: string): number {
  const format =
    formats.get(timeZone) ??
    new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
    });
  formats.set(timeZone, format);
  const part = Object.fromEntries(format.formatToParts(at).map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year!, part.month! - 1, part.day, part.hour, part.minute, part.second) - at;
}
