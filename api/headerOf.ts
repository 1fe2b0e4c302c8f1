import type { ApiContext } from './requestContext.ts';

/**
 * A header of the request, by its name in lower case; several of one name as one, joined by commas, so that no two readers take
 * different ones. From the list that Node read: `c.req.header` makes objects of all of them first, which costs more than the
 * look-up of a key.
 */
export function headerOf(c: ApiContext, name: string): string | undefined {
  const { rawHeaders } = c.env.incoming;
  let value: string | undefined;
  for (let n = 0; n < rawHeaders.length; n += 2) {
    const sent = rawHeaders[n]!;
    if (sent.length !== name.length || sent.toLowerCase() !== name) continue;
    value = value === undefined ? rawHeaders[n + 1]! : `${value}, ${rawHeaders[n + 1]}`;
  }
  return value;
}
