import { randomUUID } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ProblemCode } from '../../contract/problems.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { type Ask, expectProblem, GOAL, startTestApi, type TestApi, traces } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
let organization: TestOrganization;
/** Nothing in this file may write anything or hold anything. */
let untouched: unknown;

beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  organization = await createOrganization(database.superuser);
  untouched = await traces(database, organization.organizationId);
});
afterEach(async () => {
  expect(await traces(database, organization.organizationId)).toEqual(untouched);
});
afterAll(async () => {
  // None of it was taken for a bug of ours.
  expect(api.logLines.filter((line) => JSON.parse(line).level >= 50)).toEqual([]);
  await api.close();
  await database.drop();
});

/** A POST of a job with a body as it is. */
const send = (body: NonNullable<Ask['body']>, ask: Partial<Ask> = {}) =>
  api.call('/api/v1/jobs', {
    key: organization.secret,
    body,
    ...ask,
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID(), ...ask.headers },
  });

const goal = (fields: string) => `{"feature":"generate_goal","input":{${fields}}}`;
const nested = (depth: number) => `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`;

describe('a job with a bad body is refused, with nothing written and nothing held', () => {
  test.each<[string, NonNullable<Ask['body']>, ProblemCode, string | null]>([
    ['no body', '', 'malformed_json', null],
    ['half a body', '{"feature":"generate_goal"', 'malformed_json', null],
    ['two values', '{} {}', 'malformed_json', null],
    ['JavaScript', '{feature:1}', 'malformed_json', null],
    ['S4 NaN', goal('"industry":"x","horizonMonths":NaN'), 'malformed_json', null],
    ['S5 bytes that are not UTF-8', Buffer.from('7b2261223a22ff227d', 'hex'), 'malformed_json', null],
    ['S5 a byte order mark', Buffer.from('efbbbf7b7d', 'hex'), 'malformed_json', null],
    ['null', 'null', 'invalid_request', ''],
    ['an array', '[]', 'invalid_request', ''],
    ['a string', '"generate_goal"', 'invalid_request', ''],
    ['no feature', '{"input":{}}', 'invalid_request', 'feature'],
    ['a feature that is a number', '{"feature":3,"input":{}}', 'invalid_request', 'feature'],
    ['a feature in a list', '{"feature":["generate_goal"],"input":{}}', 'invalid_request', 'feature'],
    ['an unknown feature', '{"feature":"generate_money","input":{}}', 'feature_unknown', 'feature'],
    ['a feature of every object', '{"feature":"constructor","input":{}}', 'feature_unknown', 'feature'],
    ['no input', '{"feature":"generate_goal"}', 'invalid_request', 'input'],
    ['an input that is null', '{"feature":"generate_goal","input":null}', 'invalid_request', 'input'],
    ['an input with a field missing', goal('"industry":"x"'), 'invalid_request', 'input.horizonMonths'],
    ['an empty string', goal('"industry":"  ","horizonMonths":1'), 'invalid_request', 'input.industry'],
    [
      'a string without end',
      goal(`"industry":"${'x'.repeat(201)}","horizonMonths":1`),
      'invalid_request',
      'input.industry',
    ],
    ...[
      '0',
      '-1',
      '1.5',
      '1e400',
      '-1e400',
      '9007199254740993',
      '9223372036854775808',
      '"1"',
      'true',
      'null',
      '[]',
    ].map((amount): [string, string, ProblemCode, string] => [
      `S4 the number ${amount}`,
      goal(`"industry":"x","horizonMonths":${amount}`),
      'invalid_request',
      'input.horizonMonths',
    ]),
    ['S6 a balance', '{"feature":"generate_goal","input":{},"balance":1000}', 'invalid_request', 'balance'],
    [
      'S6 an organizationId',
      '{"feature":"generate_goal","input":{},"organizationId":"x"}',
      'invalid_request',
      'organizationId',
    ],
    [
      'S6 a role in the input',
      goal('"industry":"x","horizonMonths":1,"role":"admin"'),
      'invalid_request',
      'input.role',
    ],
    ['S6 a price', '{"feature":"generate_goal","input":{},"tokens":0}', 'invalid_request', 'tokens'],
    [
      'S5 a key twice',
      goal('"industry":"x","horizonMonths":1,"horizonMonths":2'),
      'invalid_request',
      'input.horizonMonths',
    ],
    [
      'S5 a key twice, once escaped',
      '{"feature":"generate_goal","\\u0066eature":"generate_leads"}',
      'invalid_request',
      'feature',
    ],
    [
      'S5 __proto__',
      goal('"industry":"x","horizonMonths":1,"__proto__":{"a":1}'),
      'invalid_request',
      'input.__proto__',
    ],
    ['S5 NUL in a string', goal('"industry":"a\\u0000b","horizonMonths":1'), 'invalid_request', 'input.industry'],
    ['S5 NUL in a key', '{"a\\u0000":1}', 'invalid_request', '?'],
    ['S5 half a surrogate pair', goal('"industry":"\\ud83d","horizonMonths":1'), 'invalid_request', 'input.industry'],
    ['S5 21 levels', nested(21), 'invalid_request', Array(20).fill('a').join('.')],
    [
      'S5 ten thousand levels',
      '['.repeat(10_000) + ']'.repeat(10_000),
      'invalid_request',
      Array(20).fill('0').join('.'),
    ],
  ])('%s', async (_, body, code, path) => {
    const problem = expectProblem(await send(body), code);
    if (path === null) expect(problem.errors).toBeUndefined();
    else expect(problem.errors?.map((error) => error.path)).toContain(path);
  });

  test('S7 without repeating anything that was sent, in the answer or in the log', async () => {
    const canary = 'canary.4711@example.com';
    const secret = 'tg_live_canaryCANARYcanaryCANARYcanaryCANARY';
    for (const body of [
      goal(`"industry":["${canary}"],"horizonMonths":"${canary}","${canary}":1`),
      `{"feature":"${canary}","input":"${canary}","${secret} ":1}`,
      `{"${canary}":1,"${canary}":2}`,
      `{"feature":"${canary}`,
    ]) {
      const reply = await send(body, { headers: { 'X-Canary': canary } });
      expect(reply.status).toBe(400);
      expect(reply.text).not.toMatch(/canary/i);
    }
    await api.call(`/api/v1/jobs?state=${canary}&cursor=${secret}`, { key: organization.secret });
    await api.call(`/api/v1/jobs/${canary}`, { key: secret });
    expect(api.logLines.join('\n')).not.toMatch(/canary/i);
    expect(api.logLines.join('\n')).not.toContain(organization.secret);
  });

  test('S5 a body of 10 MB, announced or in chunks, with 413; the next caller is served', async () => {
    const big = `{"feature":"generate_goal","input":{"industry":"${'x'.repeat(10 * 1024 * 1024)}"}}`;
    expect(await upload(big, { announced: true })).toBe(413);
    expect(await upload(big, { announced: false })).toBe(413);
    const barely = `{"feature":"generate_goal","input":{"industry":"${'x'.repeat(64 * 1024)}"}}`;
    expectProblem(await send(barely), 'payload_too_large');
    expect((await api.call('/healthz')).status).toBe(200);
  });

  test('S5 a compressed body with 415, without unpacking it', async () => {
    const bomb = gzipSync(Buffer.alloc(1024 * 1024, ' '));
    expectProblem(await send(bomb, { headers: { 'Content-Encoding': 'gzip' } }), 'unsupported_media_type');
  });

  test.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/json; charset=latin1',
    'application/jsonp',
  ])('a body sent as %s with 415', async (contentType) => {
    expectProblem(
      await send(JSON.stringify(GOAL), { headers: { 'Content-Type': contentType } }),
      'unsupported_media_type',
    );
  });
});

describe('a job without a usable Idempotency-Key is refused', () => {
  test('with 400 when there is none', async () => {
    const reply = await api.call('/api/v1/jobs', { key: organization.secret, json: GOAL });
    expectProblem(reply, 'idempotency_key_missing');
  });

  test.each([
    ['empty', ''],
    ['longer than 255 characters', 'k'.repeat(256)],
    ['not ASCII', 'clé'],
    ['with a control character', 'a\tb'],
  ])('with 400 when it is %s', async (_, key) => {
    expectProblem(await send(JSON.stringify(GOAL), { headers: { 'Idempotency-Key': key } }), 'idempotency_key_invalid');
  });
});

describe('who may not do it is refused', () => {
  test.each<[string, () => Record<string, string>]>([
    ['no credentials', () => ({})],
    ['another scheme', () => ({ Authorization: `Basic ${organization.secret}` })],
    ['an unknown key', () => ({ Authorization: `Bearer tg_live_${'A'.repeat(43)}` })],
    ['a key with its mode changed', () => ({ Authorization: `Bearer ${organization.secret.replace('live', 'test')}` })],
    ['a key that is cut short', () => ({ Authorization: `Bearer ${organization.secret.slice(0, -1)}` })],
    ['two keys', () => ({ Authorization: `Bearer ${organization.secret}, Bearer ${organization.secret}` })],
    ['SQL', () => ({ Authorization: "Bearer tg_live_' or true --" })],
  ])('with 401 and a challenge: %s', async (_, headers) => {
    for (const [method, path] of [
      ['POST', '/api/v1/jobs'],
      ['GET', '/api/v1/jobs'],
      ['GET', '/api/v1/jobs/x'],
      ['POST', '/api/v1/jobs/x/cancel'],
    ]) {
      const reply = await api.call(path!, {
        method: method!,
        headers: { ...headers(), 'Idempotency-Key': 'k', 'Content-Type': 'application/json' },
        ...(method === 'POST' ? { body: JSON.stringify(GOAL) } : {}),
      });
      expectProblem(reply, 'unauthorized');
      expect(reply.headers.get('www-authenticate')).toContain('Bearer');
    }
  });

  test('with 401: a key that was revoked, or is over', async () => {
    for (const end of ['revoked_at', 'expires_at']) {
      const key = await keyWith(['jobs:read']);
      expect((await api.call('/api/v1/jobs', { key: key.secret })).status).toBe(200);
      await database.superuser.query(`update tollgate.api_keys set ${end} = clock_timestamp() where id = $1`, [key.id]);
      expectProblem(await api.call('/api/v1/jobs', { key: key.secret }), 'unauthorized');
    }
  });

  test('with 403 and the scope that is missing', async () => {
    const reader = await keyWith(['jobs:read']);
    const refusal = await send(JSON.stringify(GOAL), { key: reader.secret });
    expect(expectProblem(refusal, 'scope_missing').scope).toBe('jobs:write');
    expectProblem(await api.call('/api/v1/jobs/x/cancel', { method: 'POST', key: reader.secret }), 'scope_missing');
    const writer = await keyWith(['jobs:write']);
    expect(expectProblem(await api.call('/api/v1/jobs', { key: writer.secret }), 'scope_missing').scope).toBe(
      'jobs:read',
    );
    expectProblem(await api.call('/api/v1/jobs/x', { key: writer.secret }), 'scope_missing');
  });

  const keyWith = (scopes: string[]) =>
    createApiKey(database.superuser, { organizationId: organization.organizationId, name: 'narrow', scopes });
});

describe('what is not there is refused', () => {
  test.each(['/', '/api', '/api/v1', '/api/v1/nothing', '/api/v1/jobs/x/y', '/api/v1/jobs/', '/..%2f', '//'])(
    'with 404: %s',
    async (path) => {
      expectProblem(await api.call(`${api.url}${path}`, { key: organization.secret }), 'route_not_found');
    },
  );

  test.each([
    ['DELETE', '/api/v1/jobs', 'GET, HEAD, POST'],
    ['PUT', '/api/v1/jobs/x', 'GET, HEAD'],
    ['GET', '/api/v1/jobs/x/cancel', 'POST'],
    ['POST', '/healthz', 'GET, HEAD'],
  ])('with 405 and what is allowed: %s %s', async (method, path, allowed) => {
    const reply = await api.call(path, { method, key: organization.secret });
    expectProblem(reply, 'method_not_allowed');
    expect(reply.headers.get('allow')?.split(', ').sort().join(', ')).toBe(allowed);
  });
});

describe('what is no HTTP request is answered as a problem too', () => {
  test.each([
    ['nonsense', 'HELLO\r\n\r\n', 400, 'invalid_request'],
    ['no Host header', 'GET /healthz HTTP/1.0\r\n\r\n', 400, 'invalid_request'],
    ['a bad Host header', 'GET /healthz HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n', 400, 'invalid_request'],
    [
      'headers of 20 kB',
      `GET /healthz HTTP/1.1\r\nHost: a\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
    [
      'two lengths',
      'POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
      'invalid_request',
    ],
  ])('%s', async (_, text, status, code) => {
    const answer = await raw(api.url, text);
    expect(answer).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(answer.toLowerCase()).toContain('content-type: application/problem+json');
    expect(answer).toContain(`"code":"${code}"`);
  });
});

describe('a request that does not arrive in time is refused', () => {
  test('S5 with 408: headers or a body that never end; a long wait for a job is not taken for one', async () => {
    const limits = { headersTimeout: 300, requestTimeout: 400, connectionsCheckingInterval: 50 };
    const strict = await startTestApi(database, { limits });
    try {
      const head = 'POST /api/v1/jobs HTTP/1.1\r\nHost: a\r\n';
      const authorized = `${head}Authorization: Bearer ${organization.secret}\r\nIdempotency-Key: slow\r\n`;
      const body = 'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"feature":';
      const waiter = await createOrganization(database.superuser);
      const { links } = (await strict.post(waiter)).body;
      const [headers, half, waited] = await Promise.all([
        raw(strict.url, head),
        raw(strict.url, authorized + body),
        strict.call(`${links.self}?wait=1s`, { key: waiter.secret }),
      ]);
      expect(headers).toMatch(/^HTTP\/1.1 408 [\s\S]*"code":"request_timeout"/);
      expect(half).toMatch(/^HTTP\/1.1 408 [\s\S]*"code":"request_timeout"/);
      expect(waited.status).toBe(200);
    } finally {
      await strict.close();
    }
  });
});

/** Sends bytes, and answers all that comes back until the server closes. */
function raw(url: string, text: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    let answer = '';
    const socket = connect(Number(port), hostname, () => socket.write(text));
    socket.setEncoding('utf8');
    socket.on('data', (part) => {
      answer += part;
    });
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

/** Sends a body that the server stops reading; fetch would give up when the server closes before the body's end. */
function upload(body: string, { announced }: { announced: boolean }): Promise<number> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(`${api.url}/api/v1/jobs`, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${organization.secret}`,
        'Idempotency-Key': randomUUID(),
        'Content-Type': 'application/json',
        ...(announced ? { 'Content-Length': Buffer.byteLength(body) } : { 'Transfer-Encoding': 'chunked' }),
      },
    });
    let status: number | undefined;
    request.on('response', (response) => {
      status = response.statusCode;
      response.resume();
      response.on('end', () => resolve(status!));
    });
    request.on('error', (error) => (status === undefined ? reject(error) : resolve(status)));
    request.end(body);
  });
}
