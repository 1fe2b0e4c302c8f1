/** SQL that writes a timestamptz as ISO 8601 UTC, with all of the microseconds that the database keeps and JavaScript's Date does not. */
export function isoInstant(column: string): string {
  return `to_char(${column} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;
}
