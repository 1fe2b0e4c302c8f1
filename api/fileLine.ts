/** A line of JSON Lines. */
export function jsonLine(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/**
 * A line of CSV, RFC 4180. A text that a spreadsheet would take for a formula gets an apostrophe in front, and one that begins with
 * an apostrophe another, so that removing one gives back what was there: ids may begin with -, and names are chosen by others.
 * Numbers stay numbers, negative ones too.
 */
export function csvLine(fields: readonly (string | number | null)[]): string {
  return `${fields.map(csvField).join(',')}\r\n`;
}

function csvField(field: string | number | null): string {
  if (typeof field !== 'string') return field === null ? '' : String(field);
  const inert = /^['=+\-@\t\r\n]/.test(field) ? `'${field}` : field;
  return /[",\r\n]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}
