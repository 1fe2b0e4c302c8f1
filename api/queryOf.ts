import type { ApiContext } from './requestContext.ts';

/** The query with a repeated parameter as a list, so that a schema refuses it instead of one of the two winning. */
export function queryOf(c: ApiContext): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(c.req.queries()).map(([name, values]) => [name, values.length === 1 ? values[0]! : values]),
  );
}
