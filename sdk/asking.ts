import type { Operation } from '../contract/operation.ts';
import type { AnswerOf, BodyOf, QueryOf, RowAnswerOf, RowOf } from '../contract/operationShapes.ts';
import type { ProblemRow } from '../contract/rows.ts';
import { type CallOptions, type Connection, newIdempotencyKey } from './connection.ts';

/** A function that asks for one operation: the parameters of its address, then its body or query, then the options. */
export type Ask<Of extends Operation> = Asked<Of, Answer<Of>>;
type Asked<Of extends Operation, Reply> = Routed & ((...args: Args<Of>) => Promise<Reply>);

/** A list, page by page as far as it is read: `for await (const item of list)`; `page()` is the first one, with its `nextCursor`. */
export interface Pages<Item, Page> extends AsyncIterable<Item> {
  page(): Promise<Page>;
}

/**
 * How an operation is asked for, in words: `post /api/v1/holds body key`. The compiler holds them against the contract, so that
 * nothing of the contract has to be taken along. `204`, `503`: what it may be answered besides 2xx with a body. `repeatable`: without a key, and all the same harmless when it arrives twice.
 */
type Route<Of extends Operation> = `${Address<Of>}${Of extends { body: object }
  ? ' body'
  : Of extends { query: object }
    ? ' query'
    : ''}${Of extends { idempotencyKey: string } ? ' key' : ''}${Of extends { answers: { 204: object } }
  ? ' 204'
  : ''}${Of extends { answers: { 503: object } } ? ' 503' : ''}${'' | ' repeatable'}`;

export function askingOver(connection: Connection) {
  /** One operation, one answer. */
  function ask<Of extends Operation>(route: Route<Of>): Ask<Of> {
    const { method, path, takes } = read(route);
    const parameters = path.match(/\{\w+\}/g)?.length ?? 0;
    const call = async (...args: unknown[]) => {
      const rest = args.slice(parameters);
      const input = takes.has('body') || takes.has('query') ? rest.shift() : undefined;
      const options = (rest[0] ?? {}) as CallOptions;
      const { answer } = await connection.send({
        ...options,
        ...sendingOf(method, filled(path, args.slice(0, parameters) as string[]), takes, input),
        ...(takes.has('key') ? { idempotencyKey: options.idempotencyKey ?? newIdempotencyKey() } : {}),
      });
      return answer;
    };
    return Object.assign(call, { route: `${method} ${path}` }) as unknown as Ask<Of>;
  }

  /** A file instead of JSON: the Response, whose body can be streamed. */
  function download<Of extends Operation & Download>(route: Route<Of>) {
    return ask(`${route} download` as Route<Of>) as unknown as Asked<Of, Response>;
  }

  /**
   * Up to 1,000 rows at once, answered row by row in their order: what the call for one would have been answered, or a problem.
   * `keyed`: each row is done under a `key` of its own, made here where it has none.
   */
  function askRows<Of extends Operation>(
    route: `${Address<Of>} ${RowOf<Of> extends { key: string } ? 'keyed' : 'rows'}`,
  ) {
    const { method, path, takes } = read(route);
    type Row = RowOf<Of> extends { key: string } ? Omit<RowOf<Of>, 'key'> & { key?: string } : RowOf<Of>;
    const call = async (
      rows: readonly Row[],
      options: Omit<CallOptions, 'idempotencyKey'> = {},
    ): Promise<(RowAnswerOf<Of> | ProblemRow)[]> => {
      const body = takes.has('keyed') ? rows.map((row) => ({ key: newIdempotencyKey(), ...(row as object) })) : rows;
      const { idempotencyKey: _, ...sent } = options as CallOptions;
      return (
        await connection.send<(RowAnswerOf<Of> | ProblemRow)[]>({ ...sent, method, path, body, isRepeatable: true })
      ).answer;
    };
    return Object.assign(call, { route: `${method} ${path}` });
  }

  /** Pages that name the next one by `nextCursor`; `items` is where in a page its items stand. */
  function list<Of extends Operation, Items extends keyof Answer<Of> & string>(route: Route<Of>, items: Items) {
    const ofPage = ask<Of>(route) as unknown as (...args: unknown[]) => Promise<Answer<Of>>;
    const parameters = read(route).path.match(/\{\w+\}/g)?.length ?? 0;
    type Item = Answer<Of>[Items] extends readonly (infer One)[] ? One : never;
    const call = (...args: Args<Of>): Pages<Item, Answer<Of>> => {
      const [query, options] = args.slice(parameters);
      const from = (cursor?: string) =>
        ofPage(
          ...args.slice(0, parameters),
          { ...(query as object), ...(cursor === undefined ? {} : { cursor }) },
          options,
        );
      return {
        page: () => from(),
        async *[Symbol.asyncIterator]() {
          let page = await from();
          for (;;) {
            yield* page[items] as Item[];
            const { nextCursor } = page as { nextCursor?: string | null };
            if (nextCursor === null || nextCursor === undefined) return;
            page = await from(nextCursor);
          }
        },
      };
    };
    return Object.assign(call, { route: (ofPage as unknown as Routed).route });
  }

  return { ask, askRows, list, download };
}

/** For the test that holds the client against the table of operations. */
interface Routed {
  route: string;
}

type Download = { answers: { 200: { mediaTypes: readonly string[] } } };
type Address<Of extends Operation> = `${Of['method']} ${Of['path']}`;
type Args<Of extends Operation> = [...Params<Of['path']>, ...Input<Of>, options?: CallOptions];
/** What is done and has nothing to say answers nothing. */
type Answer<Of extends Operation> = [AnswerOf<Of>] extends [never] ? undefined : AnswerOf<Of>;
type Params<Path extends string> = Path extends `${string}{${string}}${infer Rest}`
  ? [id: string, ...Params<Rest>]
  : [];
type Input<Of extends Operation> = Of extends { body: object }
  ? [body: BodyOf<Of>]
  : Of extends { query: object }
    ? Record<never, never> extends QueryOf<Of>
      ? [query?: QueryOf<Of>]
      : [query: QueryOf<Of>]
    : [];

function read(route: string): { method: string; path: string; takes: ReadonlySet<string> } {
  const [method, path, ...takes] = route.split(' ') as [string, string, ...string[]];
  return { method, path, takes: new Set(takes) };
}

function filled(path: string, values: string[]): string {
  return path.replaceAll(/\{(\w+)\}/g, (_, name) => {
    const value = values.shift();
    // An empty one would be another address.
    if (typeof value !== 'string' || value === '')
      throw new TypeError(`${name} is missing: it is text, and not empty.`);
    return encodeURIComponent(value);
  });
}

function sendingOf(method: string, path: string, takes: ReadonlySet<string>, input: unknown) {
  const query = takes.has('query') ? queryText(input) : '';
  return {
    method,
    path: `${path}${query}`,
    ...(takes.has('body') ? { body: input } : {}),
    isRepeatable: ['get', 'put', 'delete'].includes(method) || takes.has('key') || takes.has('repeatable'),
    isDownload: takes.has('download'),
    isAnsweredBy503: takes.has('503'),
    isDoneWhenGone: takes.has('204'),
  };
}

function queryText(input: unknown): string {
  const given = Object.entries((input ?? {}) as Record<string, unknown>).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ''
    : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)] as [string, string]))}`;
}
