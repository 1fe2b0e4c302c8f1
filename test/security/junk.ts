import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import type { JsonSchema } from '../../contract/namedSchemas.ts';
import { type Operation, problemsOf } from '../../contract/operation.ts';
import { OPERATIONS } from '../../contract/operations.ts';
import { problem } from '../../contract/problems.ts';
import { bodyOf, referenceOf } from '../../contract/reference.ts';
import type { Reply, TestApiOptions } from '../api/testApi.ts';
import { type Draft, draftOf, idsOf, rightful, send, startWorld, type Tenant } from '../api/world.ts';
import { eachOf } from '../support/eachOf.ts';
import { expectInvariants } from '../support/invariants.ts';
import { arbitraryOf } from './arbitraryOf.ts';
import { digestOf } from './tenantDigest.ts';

export interface Sent {
  requests: number;
  valid: number;
  nearly: number;
  junk: number;
  /** Answered with success: junk alone would show little. */
  done: number;
}

/**
 * Sends every operation what its own schemas say, what they nearly say, and what nobody would. The names are another organization's:
 * nothing of that one may change. Fails with the smallest request that is answered otherwise than the reference says.
 */
export async function expectJunkIsRefused({
  runs,
  operations = OPERATIONS,
  plant,
}: {
  runs: number;
  operations?: readonly Operation[];
  plant?: TestApiOptions['plant'];
}): Promise<Sent> {
  const world = await startWorld({ plant });
  try {
    const [sender, other] = await Promise.all([world.newTenant('enterprise'), world.newTenant('enterprise')]);
    const ids = new Map<string, Record<string, string>>();
    await eachOf(operations, 6, async (operation) => {
      ids.set(operation.id, await idsOf(world, other, operation, operation.examples[0]));
    });
    const before = await digestOf(world.database.superuser, other.organizationId);
    const sent: Sent = { requests: 0, valid: 0, nearly: 0, junk: 0, done: 0 };
    // What belongs to operators alone may touch everybody: it has tests of its own, and here it is asked by who may not.
    const sendJunkTo = async (operation: Operation) => {
      const who = { world, sender, other, ids: ids.get(operation.id)! };
      await fc.assert(
        fc.asyncProperty(requestOf(operation), async (request) => {
          const draft = written(operation, request, who);
          const credential = request.isOwn ? rightful(operation, world, sender).credential : sender.secret;
          const reply = await send(world.api, draft, operation.access === 'operators' ? sender.secret : credential);
          sent.requests += 1;
          sent[request.kind] += 1;
          if (reply.status < 300) sent.done += 1;
          expectAsDocumented(operation, reply);
        }),
        { numRuns: runs, includeErrorInReport: true },
      );
    };
    await eachOf(operations, 6, sendJunkTo);
    const after = await digestOf(world.database.superuser, other.organizationId);
    const changed = [...after].filter(([table, digest]) => before.get(table) !== digest).map(([table]) => table);
    if (changed.length > 0) throw new Error(`Junk changed what is another organization's: ${changed.join(', ')}`);
    await expectInvariants(world.database.superuser);
    return sent;
  } finally {
    await world.close();
  }
}

interface JunkRequest {
  kind: 'valid' | 'nearly' | 'junk';
  /** About the sender's own organization where it is named, else another's. */
  isOwn: boolean;
  query: Record<string, unknown>;
  /** Its text: also what is no JSON. */
  body: string | null;
  idempotencyKey: string | null;
  /** In place of the last parameter of the address. */
  param: string | null;
}

const document = referenceOf(OPERATIONS) as {
  paths: Record<
    string,
    Record<string, { parameters: Parameter[]; requestBody?: { content: Record<string, { schema: JsonSchema }> } }>
  >;
  components: { schemas: Record<string, JsonSchema> };
};
type Parameter = { name: string; in: string; required: boolean; schema: JsonSchema };

function requestOf(operation: Operation): fc.Arbitrary<JunkRequest> {
  const { parameters, requestBody } = document.paths[operation.path]![operation.method]!;
  const { schemas } = document.components;
  const inQuery = parameters.filter((parameter) => parameter.in === 'query');
  const query = fc.record(Object.fromEntries(inQuery.map(({ name, schema }) => [name, arbitraryOf(schema, schemas)])), {
    requiredKeys: inQuery.filter(({ required }) => required).map(({ name }) => name),
  }) as fc.Arbitrary<Record<string, unknown>>;
  const schema = requestBody?.content['application/json']?.schema;
  const body = schema === undefined ? fc.constant(undefined) : arbitraryOf(schema, schemas);
  const text = body.map((value) => (value === undefined ? null : JSON.stringify(value)));
  const valid = fc.record({
    kind: fc.constant('valid' as const),
    isOwn: fc.boolean(),
    query,
    body: text,
    idempotencyKey: fc.constantFrom(randomUUID(), 'another', 'a third'),
    param: fc.constant(null),
  });
  const nearly = fc.record({
    kind: fc.constant('nearly' as const),
    isOwn: fc.boolean(),
    query: fc.oneof(
      query,
      fc.tuple(query, junkField()).map(([good, bad]) => ({ ...good, ...bad })),
    ),
    body: schema === undefined ? fc.constant(null) : broken(body),
    idempotencyKey: fc.constantFrom(randomUUID(), 'another'),
    param: fc.option(junkText()),
  });
  const junk = fc.record({
    kind: fc.constant('junk' as const),
    isOwn: fc.boolean(),
    query: fc.oneof(fc.constant({}), junkField()),
    body: schema === undefined ? fc.constant(null) : fc.oneof(fc.constantFrom(...NO_JSON), fc.json({ maxDepth: 4 })),
    idempotencyKey: fc.option(fc.constantFrom('', ' ', 'k'.repeat(300), 'a\tb', 'ключ'.replace(/[^ -~]/g, '\u00e9'))),
    param: fc.option(junkText()),
  });
  return fc.oneof(valid, nearly, junk);
}

/** A body with one thing wrong in it: another value somewhere, a field too much or too little, or a key twice. */
function broken(body: fc.Arbitrary<unknown>): fc.Arbitrary<string> {
  return fc
    .tuple(body, fc.nat(), fc.constantFrom(...NO_AMOUNTS), fc.constantFrom(...EXTRA_FIELDS))
    .map(([value, at, bad, extra]) => {
      const text = JSON.stringify(value);
      const values = [...text.matchAll(/(?<=:)("(?:[^"\\]|\\.)*"|-?\d+|true|false|null)/g)];
      switch (at % 4) {
        case 0:
          return text.replace(/}(?=[^}]*$)/, (end) => `${text.length > 2 ? ',' : ''}${extra}${end}`);
        case 1:
          return text.replace(/"(\w+)":/, '"$1":1,"$1":');
        case 2:
          return text.replace(/,?"\w+":("(?:[^"\\]|\\.)*"|-?\d+|true|false|null)/, '');
        default: {
          const chosen = values[at % Math.max(values.length, 1)];
          return chosen === undefined
            ? bad
            : `${text.slice(0, chosen.index)}${bad}${text.slice(chosen.index + chosen[0].length)}`;
        }
      }
    });
}

/** S4. */
const NO_AMOUNTS = [
  ...['0', '-1', '1.5', '1e400', '9007199254740993', '9223372036854775808', '"1"', 'true', 'null', '[]', '{}', '-0'],
  ...['"\\u0000"', '"\\ud800"', `"'; drop table tollgate.holds; --"`, `"${'x'.repeat(2_000)}"`],
];
/** S6. */
const EXTRA_FIELDS = [
  '"balance":1000000',
  '"organizationId":"another"',
  '"role":"admin"',
  '"__proto__":{"role":"admin"}',
  '"constructor":1',
];
/** S5. */
const NO_JSON = [
  ...['', '{', '[', 'null', 'NaN', '{"a":1}{"b":2}', "{'a':1}", '\ufeff{}', '{"a":"\\u0000"}', '["\\udc00"]', '\u0000'],
  ...['{"feature":"generate_goal","feature":"generate_insight"}', `${'['.repeat(500)}${']'.repeat(500)}`, '[[[]]]'],
  ...[`{"a":${'9'.repeat(400)}}`, `"${'x'.repeat(70_000)}"`],
];

function junkField(): fc.Arbitrary<Record<string, string>> {
  return fc
    .tuple(
      fc.constantFrom('limit', 'cursor', 'state', 'organizationId', 'at', 'wait', 'surprise', '__proto__'),
      junkText(),
    )
    .map(([name, value]) => Object.defineProperty({}, name, { value, enumerable: true }) as Record<string, string>);
}

function junkText(): fc.Arbitrary<string> {
  return fc.oneof(
    fc.constantFrom(
      '0',
      '-1',
      '1e9',
      '\u0000',
      '\ud83d',
      '%',
      "' or 1=1 --",
      '../..',
      'x'.repeat(600),
      '__proto__',
      'null',
      ' ',
    ),
    fc.string({ minLength: 1, maxLength: 30, unit: 'binary' }),
  );
}

function written(
  operation: Operation,
  { kind, isOwn, query, body, idempotencyKey, param }: JunkRequest,
  { sender, other, ids }: { sender: Tenant; other: Tenant; ids: Record<string, string> },
): Draft {
  const { organizationId } = isOwn ? sender : other;
  const named = 'organizationId' in ids ? { ...ids, organizationId } : ids;
  const inPath = [...operation.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name!);
  const last = inPath.at(-1);
  const all = param === null || last === undefined ? named : { ...named, [last]: param.toWellFormed() };
  const draft = draftOf(operation, { ...operation.examples[0], body: {}, query: {} }, all, organizationId);
  const { body: _, ...rest } = draft;
  const asText = Object.fromEntries(Object.entries(query).map(([name, value]) => [name, String(value)]));
  return {
    ...rest,
    // Whose tokens are asked for is chosen here: an id made up is nobody's, and refused before the rest is looked at.
    query: kind === 'valid' ? { ...asText, ...draft.query } : { ...draft.query, ...asText },
    ...(body === null
      ? {}
      : {
          text:
            kind === 'valid' ? body.replace(/"organizationId":"[^"]*"/, `"organizationId":"${organizationId}"`) : body,
        }),
    headers: {
      ...(body === null ? {} : { 'Content-Type': 'application/json' }),
      ...(idempotencyKey === null ? {} : { 'Idempotency-Key': idempotencyKey }),
    },
  };
}

function expectAsDocumented(operation: Operation, reply: Reply): void {
  const say = (what: string) => new Error(`${operation.id}: ${what}: ${reply.status} ${reply.text.slice(0, 500)}`);
  if (reply.headers.get('content-type') === 'application/problem+json') {
    const { code } = problem.parse(reply.body);
    // An empty parameter, or one with a slash, is another address.
    if (code === 'route_not_found' || code === 'method_not_allowed') return;
    if (code === 'internal_error' || !problemsOf(operation).includes(code)) throw say('not documented');
    return;
  }
  const answer = operation.answers[reply.status];
  if (answer === undefined) throw say('not documented');
  const schema = bodyOf(answer);
  if (schema !== null && reply.body !== null && !schema.safeParse(reply.body).success) throw say('not of its schema');
}
