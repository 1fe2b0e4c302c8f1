/** The rows of a table that belong to the page of a verification: those of organizations after $1 up to $2 (null: no bound). */
export function rowsOfPage(table: string): string {
  return `(select * from ${table} where ($1::text is null or organization_id > $1) and ($2::text is null or organization_id <= $2))`;
}
