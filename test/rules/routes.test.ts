import { Hono } from 'hono';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ApiEnv } from '../../api/requestContext.ts';
import { type Operation, takesOneObject } from '../../contract/operation.ts';
import { OPERATIONS } from '../../contract/operations.ts';
import { PROBLEM_CODES } from '../../contract/problems.ts';
import { bodyOf, referenceOf } from '../../contract/reference.ts';
import { KEY_SCOPES } from '../../domain/keyScopes.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';

let api: TestApi;
beforeAll(async () => {
  // Nothing is asked of it: no database is there.
  api = await startTestApi({ apiUrl: 'postgres://nobody@127.0.0.1:1/none' });
});
afterAll(() => api.close());

test('every route has its line in the table of operations, and every line its route', () => {
  expect(unmatched(OPERATIONS, api.app)).toEqual([]);
});

test('every line says who may, what is sent and answered, how it is refused, and shows an example that fits', () => {
  expect(OPERATIONS.flatMap(mistakesIn)).toEqual([]);
  const ids = OPERATIONS.map(({ id }) => id);
  expect(ids.filter((id, at) => ids.indexOf(id) !== at)).toEqual([]);
  expect(() => referenceOf(OPERATIONS)).not.toThrow();
});

describe('the rules catch', () => {
  test('a route without a line', () => {
    const planted = new Hono<ApiEnv>();
    planted.route('/', api.app);
    planted.get('/api/v1/forgotten/:id', (c) => c.text('here'));
    expect(unmatched(OPERATIONS, planted)).toEqual(['GET /api/v1/forgotten/:id: a route without a line']);
  });

  test('a line without a route', () => {
    const line = { ...anOperation('getHold'), path: '/api/v1/nowhere/{holdId}' };
    expect(unmatched([...OPERATIONS, line], api.app)).toEqual(['GET /api/v1/nowhere/:holdId: a line without a route']);
  });

  test('one line twice under another method', () => {
    const line = { ...anOperation('getHold'), method: 'delete' as const };
    expect(unmatched([...OPERATIONS, line], api.app)).toEqual(['DELETE /api/v1/holds/:holdId: a line without a route']);
  });

  const broken: [what: string, id: string, change: object, mistake: string][] = [
    ['no summary', 'getHold', { summary: ' ' }, 'getHold: has no summary'],
    ['an id that is no name', 'getHold', { id: 'get-hold' }, 'get-hold: is no operation id'],
    ['no example', 'getHold', { examples: [] }, 'getHold: has no example'],
    ['no access', 'getHold', { access: undefined }, 'getHold: does not say who may'],
    [
      'a role without anybody',
      'getHold',
      { access: { role: 'owner', scopes: ['tokens:read'], operators: false } },
      'getHold: does not say who may',
    ],
    [
      'a scope that no key has',
      'getHold',
      { access: { role: 'member', scopes: ['tokens:all'], operators: false } },
      'getHold: does not say who may',
    ],
    ['no problems', 'getHold', { problems: undefined }, 'getHold: does not say how it is refused'],
    ['a code of no catalogue', 'getHold', { problems: ['hold_gone'] }, 'getHold: does not say how it is refused'],
    [
      'an answer without a schema',
      'getHold',
      { answers: { 200: { description: 'One.' } } },
      'getHold: 200 has no schema',
    ],
    ['no answers', 'getHold', { answers: {} }, 'getHold: has no answer'],
    [
      'an example of another status',
      'getHold',
      { examples: [{ title: 'One', params: { holdId: 'h' }, status: 202 }] },
      'getHold: "One": 202 is no answer of it',
    ],
    [
      'an example without its parameter',
      'getHold',
      { examples: [{ title: 'One', status: 200 }] },
      'getHold: "One": holdId is missing',
    ],
    [
      'an example whose body is refused',
      'placeHold',
      { examples: [{ title: 'One', body: { feature: 'generate_gaol' }, status: 201 }] },
      'placeHold: "One": its body does not fit',
    ],
    [
      'an example whose row is refused',
      'placeHold',
      { examples: [{ title: 'Rows', body: [{ feature: 'generate_goal' }], status: 200 }] },
      'placeHold: "Rows": its body does not fit',
    ],
    [
      'an example whose query is refused',
      'listHolds',
      { examples: [{ title: 'All', query: { limit: '0' }, status: 200 }] },
      'listHolds: "All": its query does not fit',
    ],
    [
      'an example with a query where none is read',
      'getHold',
      { examples: [{ title: 'One', params: { holdId: 'h' }, query: { verbose: 'yes' }, status: 200 }] },
      'getHold: "One": its query does not fit',
    ],
    [
      'an example whose answer is none',
      'getLiveness',
      { examples: [{ title: 'Alive', status: 200, answer: { status: 'dead' } }] },
      'getLiveness: "Alive": its answer does not fit',
    ],
    [
      'an organization in the address of what is for anyone',
      'getLiveness',
      {
        path: '/api/v1/organizations/{organizationId}/health',
        examples: [{ title: 'A', params: { organizationId: 'o' }, status: 200 }],
      },
      'getLiveness: is open to anyone, and about somebody',
    ],
  ];
  test.each(broken)('%s', (_, id, change, mistake) => {
    expect(mistakesIn({ ...anOperation(id), ...change } as Operation)).toEqual([mistake]);
  });
});

function anOperation(id: string): Operation {
  return OPERATIONS.find((operation) => operation.id === id)!;
}

/** Middleware stands in the router under every method, and is no route. */
function unmatched(operations: readonly Operation[], app: Hono<ApiEnv>): string[] {
  const routes = new Set(
    app.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`),
  );
  const lines = new Set(
    operations.map(({ method, path }) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`),
  );
  return [
    ...[...routes].filter((route) => !lines.has(route)).map((route) => `${route}: a route without a line`),
    ...[...lines].filter((line) => !routes.has(line)).map((line) => `${line}: a line without a route`),
  ];
}

function mistakesIn(operation: Operation): string[] {
  const { id, path, summary, access, answers, problems, examples } = operation;
  const mistakes: string[] = [];
  const claim = (holds: boolean, mistake: string) => {
    if (!holds) mistakes.push(`${id}: ${mistake}`);
  };
  claim(/^[a-z][A-Za-z]+$/.test(id), 'is no operation id');
  claim(/\S/.test(summary), 'has no summary');
  claim(saysWhoMay(access), 'does not say who may');
  claim(access !== 'anyone' || !path.startsWith('/api/'), 'is open to anyone, and about somebody');
  claim(problems?.every((code) => PROBLEM_CODES.includes(code)) ?? false, 'does not say how it is refused');
  claim(Object.keys(answers).length > 0, 'has no answer');
  for (const [status, { schema, rowSchema, mediaTypes }] of Object.entries(answers)) {
    const isEmpty = status === '204' || status === '304';
    claim(isEmpty || Boolean(schema ?? rowSchema ?? mediaTypes), `${status} has no schema`);
  }
  claim(examples.length > 0, 'has no example');
  for (const example of examples) {
    const claimOfIt = (holds: boolean, mistake: string) => claim(holds, `"${example.title}": ${mistake}`);
    const answer = answers[example.status];
    // Without answers nothing more can be said of it than that.
    claimOfIt(answer !== undefined || Object.keys(answers).length === 0, `${example.status} is no answer of it`);
    for (const [, name] of path.matchAll(/\{(\w+)\}/g)) {
      claimOfIt(example.params?.[name!] !== undefined, `${name} is missing`);
    }
    claimOfIt(bodyFits(operation, example.body), 'its body does not fit');
    claimOfIt(
      operation.query?.safeParse(example.query ?? {}).success ?? example.query === undefined,
      'its query does not fit',
    );
    if (example.answer !== undefined && answer !== undefined) {
      claimOfIt(bodyOf(answer)?.safeParse(example.answer).success ?? false, 'its answer does not fit');
    }
  }
  return mistakes;
}

function saysWhoMay(access: Operation['access'] | undefined): boolean {
  if (access === undefined) return false;
  if (typeof access === 'string') return ['anyone', 'operators'].includes(access);
  const { role, scopes } = access;
  return ['member', 'admin'].includes(role) && scopes.every((scope) => KEY_SCOPES.includes(scope));
}

function bodyFits(operation: Operation, sent: unknown): boolean {
  const { body } = operation;
  if (body === undefined) return sent === undefined;
  if (!Array.isArray(sent)) return takesOneObject(operation) && body.schema.safeParse(sent).success;
  return body.rows !== undefined && sent.every((row) => body.rows!.safeParse(row).success);
}
