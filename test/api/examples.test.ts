import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSessions } from '../../api/sessions.ts';
import { type Operation, problemsOf } from '../../contract/operation.ts';
import { OPERATIONS } from '../../contract/operations.ts';
import { PROBLEMS, type ProblemCode } from '../../contract/problems.ts';
import { bodyOf } from '../../contract/reference.ts';
import { freePort } from '../../dev/ports.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { APP_RULES, type Conditions, OTHER_ANSWERS, provocationOf, type Scene, sceneOf } from './provocations.ts';
import { expectProblem, type Reply, startTestApi, traces } from './testApi.ts';
import { startWorld, type World } from './world.ts';

let world: World;
let apis: Conditions;
let buggyDatabase: TestDatabase;
/** What each operation was answered, as it is documented: a status, or the code of a problem. */
const answered = new Map<string, Set<string>>();

beforeAll(async () => {
  [world, buggyDatabase] = await Promise.all([startWorld(), freshDatabase()]);
  const nobodyThere = `127.0.0.1:${await freePort()}`;
  await buggyDatabase.superuser.query(
    'drop function tollgate.authenticate_keys(bytea[]); drop function tollgate.authenticate_operator(bytea)',
  );
  await world.database.superuser.query(APP_RULES);
  const sessions = createSessions({ SUPABASE_URL: world.signIn.url });
  const { database } = world;
  const [withoutDatabase, withoutTemporal, withoutSignIn, rationed, full, hasty, buggy] = await Promise.all([
    startTestApi(database, { databaseUrl: `postgres://tollgate_api:api@${nobodyThere}/away`, sessions }),
    startTestApi(database, { temporalAddress: nobodyThere, deadlineMs: 300 }),
    startTestApi(database, { sessions: createSessions({ SUPABASE_URL: `http://${nobodyThere}` }) }),
    startTestApi(database, { rateLimits: { RATE_LIMIT_PER_CALLER: 1 } }),
    startTestApi(database, { maxQueued: 0, mostWaiters: 0 }),
    startTestApi(database, { limits: { requestTimeout: 500, headersTimeout: 400, connectionsCheckingInterval: 100 } }),
    startTestApi(buggyDatabase),
  ]);
  apis = { usual: world.api, withoutDatabase, withoutTemporal, withoutSignIn, rationed, full, hasty, buggy };
});
afterAll(async () => {
  await expectInvariants(world.database.superuser);
  const { usual: _, ...others } = apis;
  await Promise.all(Object.values(others).map((api) => api.close()));
  await Promise.all([world.close(), buggyDatabase.drop()]);
});

describe('every example is answered as it says', () => {
  test.concurrent.each(
    OPERATIONS.flatMap((operation) => operation.examples.map((example) => ({ operation, example }))),
  )('$operation.id: $example.title', async ({ operation, example }) => {
    const scene = await sceneOf(world, apis, operation, example);
    const reply = noted(operation, await scene.ask());
    expectDocumented(operation, reply, example.status);
    if (example.answer !== undefined) {
      expect(withoutIds(reply.body, scene)).toEqual(withoutIds(example.answer, scene));
    }
  });
});

describe('every problem that is documented occurs', () => {
  const cases = OPERATIONS.flatMap((operation) => problemsOf(operation).map((code) => ({ operation, code })));
  test.concurrent.each(cases)('$operation.id: $code', async ({ operation, code }) => {
    const provoke = provocationOf(operation, code);
    if (provoke === undefined) throw new Error('Say in test/api/provocations.ts how to provoke it.');
    const reply = noted(operation, await provoke(await sceneOf(world, apis, operation)));
    if (reply.headers.has('x-request-id')) expectProblem(reply, code);
    // What the server itself could not read never came to the app.
    expect([reply.status, reply.body?.code], reply.text).toEqual([PROBLEMS[code].status, code]);
  });
});

describe('what is the matter with an organization is answered as documented, or changes nothing of the answer', () => {
  const writing = OPERATIONS.filter(({ method, access }) => method !== 'get' && access !== 'anyone');
  const cases = writing.flatMap((operation) =>
    MATTERS.filter((code) => !problemsOf(operation).includes(code)).map((code) => ({ operation, code })),
  );
  test.concurrent.each(cases)('$operation.id: $code', async ({ operation, code }) => {
    const scene = await sceneOf(world, apis, operation);
    const reply = noted(operation, await provocationOf(operation, code)!(scene));
    if (isProblem(reply)) expect(problemsOf(operation)).toContain(reply.body.code);
    else expect(Object.keys(operation.answers)).toContain(String(reply.status));
  });
});

describe('every other answer that is documented occurs', () => {
  const shown = (operation: Operation) => new Set(operation.examples.map(({ status }) => status));
  const cases = OPERATIONS.flatMap((operation) =>
    Object.keys(operation.answers)
      .map(Number)
      .filter((status) => !shown(operation).has(status))
      .map((status) => ({ operation, status })),
  );
  test.concurrent.each(cases)('$operation.id: $status', async ({ operation, status }) => {
    const provoke = OTHER_ANSWERS[`${operation.id} ${status}`];
    if (provoke === undefined) throw new Error('Say in OTHER_ANSWERS of test/api/provocations.ts how to get it.');
    const reply = noted(operation, await provoke(await sceneOf(world, apis, operation)));
    expectDocumented(operation, reply, status);
  });
});

describe('R4: a hundred at once under one key are answered alike, and have the effect of one', () => {
  const keyed = OPERATIONS.filter(({ idempotencyKey }) => idempotencyKey !== undefined);
  test.each(keyed)('$id; R5: of another organization the same key is another', async (operation) => {
    const example = operation.examples.findLast(({ body }) => !Array.isArray(body))!;
    const [scene, other] = [
      await sceneOf(world, apis, operation, example),
      await sceneOf(world, apis, operation, example),
    ];
    const replies = await Promise.all(Array.from({ length: 100 }, () => scene.ask()));
    const [first] = replies;
    expect(first!.status, first!.text).toBe(example.status);
    expect(new Set(replies.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(replies.filter(({ headers }) => !headers.has('idempotent-replayed')).length).toBeLessThanOrEqual(1);

    // Of what makes an organization the key is the operator's.
    if (operation.access === 'operators' && !operation.path.includes('{organizationId}')) return;
    const { 'Idempotency-Key': key } = scene.draft.headers;
    const elsewhere = await other.ask({ draft: { headers: { ...other.draft.headers, 'Idempotency-Key': key! } } });
    expect([elsewhere.status, elsewhere.headers.has('idempotent-replayed')]).toEqual([example.status, false]);
    expect(await marksOf(scene)).toEqual(await marksOf(other));
  });
});

test('nothing was answered to all of these that is not documented, and everything else was', () => {
  const documented = OPERATIONS.map((operation) => [
    operation.id,
    [...Object.keys(operation.answers), ...problemsOf(operation)].sort(),
  ]);
  const found = OPERATIONS.map(({ id }) => [id, [...(answered.get(id) ?? [])].sort()]);
  expect(Object.fromEntries(found)).toEqual(Object.fromEntries(documented));
});

/** What an organization is in, and any operation of it could be refused for. */
const MATTERS: readonly ProblemCode[] = [
  ...(['organization_suspended', 'tokens_insufficient', 'feature_not_available', 'limit_reached'] as const),
  ...(['too_many_holds', 'too_many_jobs', 'too_many_limits'] as const),
];

/** How much an organization has, and has written: equal for two that did the same. */
async function marksOf({ world: { database }, tenant }: Scene) {
  const { outbox: _, ...marks } = await traces(database, tenant.organizationId);
  return marks;
}

function noted(operation: Operation, reply: Reply): Reply {
  const codes = answered.get(operation.id) ?? new Set();
  answered.set(operation.id, codes.add(isProblem(reply) ? (reply.body.code as ProblemCode) : String(reply.status)));
  return reply;
}

const isProblem = ({ headers }: Reply) => headers.get('content-type') === 'application/problem+json';

/** That this status came, with a body that its schema takes. */
function expectDocumented({ answers }: Operation, reply: Reply, status: number): void {
  expect(reply.status, reply.text).toBe(status);
  const answer = answers[status]!;
  const mediaType = reply.headers.get('content-type')?.split(';')[0];
  const schema = bodyOf(answer);
  if (schema !== null && mediaType === 'application/json') {
    expect(schema.safeParse(reply.body).error?.issues ?? []).toEqual([]);
    if (Array.isArray(reply.body)) expect(reply.body.filter((row) => 'code' in row)).toEqual([]);
  } else if (answer.mediaTypes !== undefined) expect(answer.mediaTypes).toContain(mediaType);
  else expect(reply.text).toBe('');
  for (const header of answer.headers ?? []) {
    // The first time it was not there before.
    if (header !== 'Idempotent-Replayed') expect(reply.headers.has(header), header).toBe(true);
  }
}

/** Instants, and ids and whatever holds one, are other ones each time: `*` stands for those. */
function withoutIds(part: unknown, scene: Scene, name = ''): unknown {
  if (Array.isArray(part)) return part.map((value) => withoutIds(value, scene, name));
  if (part !== null && typeof part === 'object') {
    return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, withoutIds(value, scene, key)]));
  }
  if (typeof part !== 'string') return part;
  if (/^(id|self|secret|credential|nextCursor)$|(Id|At|Until|Since|Date)$/.test(name) || part.startsWith('/api/'))
    return '*';
  return part;
}
