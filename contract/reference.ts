import { z } from 'zod';
import { createNamedSchemas, type NamedSchemas } from './namedSchemas.ts';
import type { Access, Operation, OperationAnswer, OperationExample } from './operation.ts';
import { problemsOf, takesOneObject } from './operation.ts';
import { PROBLEM_MEDIA_TYPE, PROBLEMS, type ProblemCode, problem, problemBody } from './problems.ts';
import { MOST_ROWS, problemRow } from './rows.ts';

/** A part of an OpenAPI document. */
export type JsonObject = { [name: string]: unknown };

/** The OpenAPI 3.1 document of these operations: all that it says is said by their lines, so it cannot say anything else. */
export function referenceOf(operations: readonly Operation[]): JsonObject {
  const schemas = createNamedSchemas();
  schemas.refTo(problem, 'output', 'Problem');
  const paths: Record<string, JsonObject> = {};
  for (const operation of operations) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: operationOf(operation, schemas) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Tollgate',
      version: '1',
      description: ABOUT,
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: { schemas: schemas.all(), parameters: PARAMETERS, headers: HEADERS, securitySchemes: SECURITY_SCHEMES },
  };
}

/** What the body of an answer is, as JSON; null where it is none. An array's rows are each what was done, or a problem. */
export function bodyOf({ schema, rowSchema }: OperationAnswer): z.ZodType | null {
  if (rowSchema === undefined) return schema ?? null;
  const rows = z.array(z.union([rowSchema, problemRow])).max(MOST_ROWS);
  return schema === undefined ? rows : z.union([schema, rows]);
}

function operationOf(operation: Operation, schemas: NamedSchemas): JsonObject {
  const { id, tag, summary, description, access, body, answers } = operation;
  return {
    operationId: id,
    tags: [tag],
    summary,
    description: [description, whoMay(access)].filter(Boolean).join('\n\n'),
    security: securityOf(access),
    parameters: parametersOf(operation, schemas),
    ...(body === undefined ? {} : { requestBody: requestBodyOf(operation, schemas) }),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, answer]) => [
          status,
          answerOf(operation, Number(status), answer, schemas),
        ]),
      ),
      ...problemAnswersOf(operation, schemas),
    },
  };
}

function parametersOf(operation: Operation, schemas: NamedSchemas): JsonObject[] {
  const { path, query, idempotencyKey, access, examples } = operation;
  const shown = (find: (example: OperationExample) => unknown) => {
    const value = examples.map(find).find((found) => found !== undefined);
    return value === undefined ? {} : { example: value };
  };
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
    ...shown(({ params }) => params?.[name!]),
  }));
  const { properties = {}, required = [] } = (query === undefined ? {} : schemas.inline(query, 'input')) as {
    properties?: Record<string, JsonObject>;
    required?: string[];
  };
  const inQuery = Object.entries(properties).map(([name, { description, ...schema }]) => ({
    name,
    in: 'query',
    required: required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema,
  }));
  return [
    ...inPath,
    ...inQuery,
    ...(idempotencyKey === 'required' && operation.body?.rows === undefined
      ? [refTo('parameters', 'IdempotencyKey')]
      : []),
    ...(idempotencyKey === 'optional' || (idempotencyKey === 'required' && operation.body?.rows !== undefined)
      ? [refTo('parameters', 'OptionalIdempotencyKey')]
      : []),
    ...(access === 'operators' ? [refTo('parameters', 'OperatorReason')] : []),
    ...(typeof access !== 'string' && access.operators ? [refTo('parameters', 'OptionalOperatorReason')] : []),
  ];
}

function requestBodyOf(operation: Operation, schemas: NamedSchemas): JsonObject {
  const { id, body, examples } = operation;
  const { schema, rows } = body!;
  const array = () => ({
    type: 'array',
    maxItems: MOST_ROWS,
    items: schemas.refTo(rows!, 'input', `${capital(id)}Row`),
  });
  const object = () => schemas.refTo(schema, 'input', `${capital(id)}Request`);
  const shown = examples.filter((example) => example.body !== undefined);
  return {
    required: true,
    content: {
      'application/json': {
        schema: rows === undefined ? object() : takesOneObject(operation) ? { oneOf: [object(), array()] } : array(),
        ...(shown.length === 0
          ? {}
          : { examples: Object.fromEntries(shown.map(({ title, body }) => [title, { value: body }])) }),
      },
    },
  };
}

function answerOf(
  { id, examples }: Operation,
  status: number,
  { description, schema, rowSchema, mediaTypes, headers = [] }: OperationAnswer,
  schemas: NamedSchemas,
): JsonObject {
  const one = schema && schemas.refTo(schema, 'output', `${capital(id)}Answer`);
  const array = rowSchema && {
    type: 'array',
    maxItems: MOST_ROWS,
    items: {
      anyOf: [
        schemas.refTo(rowSchema, 'output', `${capital(id)}RowAnswer`),
        schemas.refTo(problemRow, 'output', 'ProblemRow'),
      ],
    },
  };
  const body = one && array ? { anyOf: [one, array] } : (one ?? array);
  const shown = examples.filter((example) => example.status === status && example.answer !== undefined);
  const content = {
    ...(body === undefined
      ? {}
      : {
          'application/json': {
            schema: body,
            ...(shown.length === 0
              ? {}
              : { examples: Object.fromEntries(shown.map(({ title, answer }) => [title, { value: answer }])) }),
          },
        }),
    ...Object.fromEntries((mediaTypes ?? []).map((type) => [type, { schema: { type: 'string' } }])),
  };
  return {
    description,
    headers: headersOf([...HEADERS_OF_ALL, ...headers]),
    ...(Object.keys(content).length === 0 ? {} : { content }),
  };
}

/** By status: which codes it may carry here, each with the words that it always has. */
function problemAnswersOf(operation: Operation, schemas: NamedSchemas): JsonObject {
  const byStatus = Map.groupBy(problemsOf(operation), (code) => PROBLEMS[code].status);
  return Object.fromEntries(
    [...byStatus]
      // A status that is an answer as well (a probe's 503) is described there.
      .filter(([status]) => operation.answers[status] === undefined)
      .map(([status, codes]) => [status, problemAnswerOf(codes, schemas)]),
  );
}

function problemAnswerOf(codes: ProblemCode[], schemas: NamedSchemas): JsonObject {
  const headers = new Set(codes.flatMap((code) => HEADERS_OF_PROBLEMS[code] ?? []));
  return {
    description: codes.map((code) => `\`${code}\`: ${PROBLEMS[code].title}.`).join(' '),
    headers: headersOf([...HEADERS_OF_ALL, ...headers]),
    content: {
      [PROBLEM_MEDIA_TYPE]: {
        schema: {
          allOf: [
            schemas.refTo(problem, 'output', 'Problem'),
            { type: 'object', properties: { code: { type: 'string', enum: codes } } },
          ],
        },
        examples: Object.fromEntries(codes.map((code) => [code, { value: problemBody(code, 'a-request-id') }])),
      },
    },
  };
}

function whoMay(access: Access): string {
  if (access === 'anyone') return 'Needs no credential.';
  if (access === 'operators') return 'For operators only.';
  const scopes = access.scopes.map((scope) => `\`${scope}\``).join(' or ');
  const users = access.role === 'admin' ? 'an admin' : 'a member';
  return [
    `For ${users} of the organization${scopes === '' ? '' : `, or a key with ${scopes}`}`,
    access.operators ? '; operators too.' : '.',
  ].join('');
}

function securityOf(access: Access): JsonObject[] {
  if (access === 'anyone') return [];
  if (access === 'operators') return [{ operator: [] }];
  return [
    ...(access.scopes.length === 0 ? [] : [{ apiKey: [...access.scopes] }]),
    { session: [access.role] },
    ...(access.operators ? [{ operator: [] }] : []),
  ];
}

const refTo = (kind: 'parameters' | 'headers', name: string) => ({ $ref: `#/components/${kind}/${name}` });
const headersOf = (names: readonly (keyof typeof HEADERS)[]) =>
  Object.fromEntries(names.map((name) => [name, refTo('headers', name)]));
const capital = (name: string) => name[0]!.toUpperCase() + name.slice(1);

const text = (description: string, example: string, members: JsonObject = {}) => ({
  description,
  schema: { type: 'string' },
  example,
  ...members,
});

const HEADERS = {
  'X-Request-Id': text('Names this request in our log. Send one of your own, or we make one.', 'b3d0c1c2'),
  RateLimit: text('What is left of each limit, and the seconds until it is whole again.', '"caller";r=9999;t=10'),
  'RateLimit-Policy': text('How many requests each limit lets through in how many seconds.', '"caller";q=10000;w=10'),
  'Idempotent-Replayed': text('`true`: this was recorded before; nothing was done again.', 'true'),
  'Retry-After': text('After so many seconds it is worth another try.', '2'),
  'WWW-Authenticate': text('How to authenticate.', 'Bearer realm="tollgate"'),
  Location: text('Where what was made can be read.', '/api/v1/jobs/job_1'),
} as const;

const HEADERS_OF_ALL = ['X-Request-Id', 'RateLimit', 'RateLimit-Policy'] as const;
const HEADERS_OF_PROBLEMS: Partial<Record<ProblemCode, (keyof typeof HEADERS)[]>> = {
  unauthorized: ['WWW-Authenticate'],
  scope_missing: ['WWW-Authenticate'],
  rate_limited: ['Retry-After'],
  sign_in_unavailable: ['Retry-After'],
  database_unavailable: ['Retry-After'],
  ledger_busy: ['Retry-After'],
  workflows_unavailable: ['Retry-After'],
  too_many_waiters: ['Retry-After'],
};

const idempotencyKey = {
  name: 'Idempotency-Key',
  in: 'header',
  schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[\\x20-\\x7e]+$' },
  example: 'b9d1f5a0-4c8b-4a0e-9e53-9d2c5b0f6c11',
};
const operatorReason = {
  name: 'Tollgate-Reason',
  in: 'header',
  schema: { type: 'string', minLength: 3, maxLength: 500, pattern: '^[\\x20-\\x7e]+$' },
  example: 'Ticket 4711: the customer asked for it.',
};

const PARAMETERS = {
  IdempotencyKey: {
    ...idempotencyKey,
    required: true,
    description: 'New for each new request, the same when that one is repeated: the repeat gets the first answer.',
  },
  OptionalIdempotencyKey: {
    ...idempotencyKey,
    required: false,
    description: 'Makes a repeat harmless: it gets the first answer. With an array none is sent: each row has a `key`.',
  },
  OperatorReason: {
    ...operatorReason,
    required: true,
    description: 'Why. It is kept in the audit log.',
  },
  OptionalOperatorReason: {
    ...operatorReason,
    required: false,
    description: 'An operator says why; others leave it out. It is kept in the audit log.',
  },
};

const SECURITY_SCHEMES = {
  apiKey: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'tg_live_… or tg_test_…',
    description: 'An API key belongs to one organization and does what its scopes name.',
  },
  session: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'JWT',
    description: 'The session token of a signed-in user, who does what his role in the organization may.',
  },
  operator: {
    type: 'http',
    scheme: 'bearer',
    bearerFormat: 'tg_op_…',
    description: 'The credential of an operator, who says why in the header Tollgate-Reason.',
  },
};

const ABOUT = `A durable billing engine for AI tokens. Set tokens aside, do the work, charge what it used or give them back; or ask for a job and let Tollgate do all of it.

Amounts are whole tokens. Instants are ISO 8601 in UTC. Unknown fields are refused. Lists are read page by page: send \`nextCursor\` back as \`cursor\` until it is null.

Errors are problem details (RFC 9457) with a stable \`code\`. An address that is none is answered \`route_not_found\`, a method that it does not know \`method_not_allowed\`, headers over 16 KiB \`headers_too_large\`.`;
