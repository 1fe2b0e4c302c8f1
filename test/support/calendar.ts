/**
 * The oracle of periods: when the period ends that `after` lies in. The n-th boundary is the anchor plus n months on the
 * calendar and clock of the organization's zone; a day that its month does not have is the month's last. Clock time that
 * a zone skips is read with the offset before the change, clock time that it has twice with the one after it.
 *
 * Knows nothing of the SQL: it steps through months one by one and asks Intl for offsets.
 */
export function boundaryAfter(anchor: Date, timeZone: string, after: Date): Date {
  const clock = wallClock(anchor, timeZone);
  const yearsEarlier = Math.min(0, after.getUTCFullYear() - anchor.getUTCFullYear());
  for (let months = yearsEarlier * 12 - 24; ; months++) {
    const boundary = instantOf(plusMonths(clock, months), timeZone);
    if (boundary > after) return boundary;
  }
}

/** Every boundary in (from, until]. */
export function boundariesBetween(anchor: Date, timeZone: string, from: Date, until: Date): Date[] {
  const found: Date[] = [];
  for (let next = boundaryAfter(anchor, timeZone, from); next <= until; next = boundaryAfter(anchor, timeZone, next)) {
    found.push(next);
  }
  return found;
}

/** Clock and calendar of a place, as if it were UTC: milliseconds. */
type WallClock = number;

const DAY_MS = 86_400_000;
const formats = new Map<string, Intl.DateTimeFormat>();

function wallClock(instant: Date, timeZone: string): WallClock {
  let format = formats.get(timeZone);
  if (!format) {
    format = new Intl.DateTimeFormat('en-US', {
      timeZone,
      hourCycle: 'h23',
      ...{ year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' },
    });
    formats.set(timeZone, format);
  }
  const part = Object.fromEntries(format.formatToParts(instant).map(({ type, value }) => [type, Number(value)]));
  const milliseconds = ((instant.getTime() % 1_000) + 1_000) % 1_000;
  return Date.UTC(part.year!, part.month! - 1, part.day, part.hour, part.minute, part.second, milliseconds);
}

function plusMonths(clock: WallClock, months: number): WallClock {
  const start = new Date(clock);
  const month = new Date(clock);
  month.setUTCDate(1);
  month.setUTCMonth(month.getUTCMonth() + months);
  const daysInMonth = new Date(Date.UTC(month.getUTCFullYear(), month.getUTCMonth() + 1, 0)).getUTCDate();
  month.setUTCDate(Math.min(start.getUTCDate(), daysInMonth));
  return month.getTime();
}

function instantOf(clock: WallClock, timeZone: string): Date {
  const [before, after] = [-DAY_MS, DAY_MS].map((shift) => offsetAt(new Date(clock + shift), timeZone)) as [
    number,
    number,
  ];
  // No clock shows it before the change, nor after: skipped. Shown by both: it comes twice.
  const shownAfter = offsetAt(new Date(clock - after), timeZone) === after;
  return new Date(clock - (shownAfter ? after : before));
}

function offsetAt(instant: Date, timeZone: string): number {
  return wallClock(instant, timeZone) - instant.getTime();
}
