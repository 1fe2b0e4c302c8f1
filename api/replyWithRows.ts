import type { Logger } from 'pino';
import type { z } from 'zod';
import { MOST_ROWS, type ProblemRow, problemRowOf } from '../contract/rows.ts';
import type { Answer } from './answer.ts';
import { problemReply } from './problemReply.ts';
import { refusedRequest } from './refusedRequest.ts';
import type { ApiContext } from './requestContext.ts';
import { troubleOf } from './troubleOf.ts';

export interface RowsRequest<Schema extends z.ZodType, Body> {
  schema: Schema;
  /** The field that names a row, in its request and in its answer; null: its place does. */
  namedBy: 'key' | 'id' | null;
  /** What became of the rows that are well-formed, in their order. */
  send: (rows: z.infer<Schema>[]) => Promise<PromiseSettledResult<Answer<Body>>[]>;
  log: Logger;
}

/**
 * Answers an array row by row, in the order asked: 200 with what each row did, or with the problem that it met. A row that is
 * malformed is one of the latter and keeps nobody from being done. Only where everything that was to be done met trouble of
 * ours, the whole is that trouble: 503 with Retry-After.
 */
export async function replyWithRows<Schema extends z.ZodType, Body extends object>(
  c: ApiContext,
  { schema, namedBy, send, log }: RowsRequest<Schema, Body>,
): Promise<Response> {
  const rows = c.get('body');
  if (!Array.isArray(rows)) return refuseWhole(c, 'must be an array of rows');
  if (rows.length > MOST_ROWS) return refuseWhole(c, `must have at most ${MOST_ROWS} rows`);

  const nameOf = (row: unknown) => (namedBy === null ? {} : { [namedBy]: nameIn(row, namedBy) });
  const answers: (ProblemRow | object)[] = [];
  const wanted: { at: number; row: z.infer<Schema> }[] = [];
  for (const [at, row] of rows.entries()) {
    const inadmissible = c.get('rowErrors').get(at);
    const parsed = schema.safeParse(row);
    if (inadmissible !== undefined)
      answers[at] = problemRowOf(nameOf(null), 'invalid_request', { errors: [inadmissible] });
    else if (parsed.success) wanted.push({ at, row: parsed.data });
    else {
      const { code, members } = refusedRequest(row, parsed.error);
      answers[at] = problemRowOf(nameOf(row), code, members);
    }
  }

  const results = await send(wanted.map(({ row }) => row));
  const [first] = results;
  if (first?.status === 'rejected' && results.every(({ status }) => status === 'rejected')) throw first.reason;
  for (const [n, { at }] of wanted.entries()) {
    const result = results[n]!;
    if (result.status === 'rejected') {
      answers[at] = problemRowOf(nameOf(rows[at]), troubleOf(result.reason, log, c.get('requestId')));
    } else if ('code' in result.value) {
      answers[at] = problemRowOf(nameOf(rows[at]), result.value.code, result.value.members);
    } else {
      const { body, isRepeat } = result.value;
      answers[at] = isRepeat ? { ...body, replayed: true } : body;
    }
  }
  return c.json(answers);
}

function refuseWhole(c: ApiContext, message: string): Response {
  return problemReply(c, 'invalid_request', { errors: [{ path: '', message }] });
}

/** What is no name is not repeated. */
function nameIn(row: unknown, field: string): string | null {
  if (row === null || typeof row !== 'object' || !Object.hasOwn(row, field)) return null;
  const name: unknown = (row as Record<string, unknown>)[field];
  return typeof name === 'string' && /^[\x20-\x7e]{1,255}$/.test(name) ? name : null;
}
