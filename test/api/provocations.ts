import { randomUUID } from 'node:crypto';
import type { Operation, OperationExample } from '../../contract/operation.ts';
import type { ProblemCode } from '../../contract/problems.ts';
import { KEY_SCOPES } from '../../domain/keyScopes.ts';
import type { TestDatabase } from '../support/database.ts';
import { holdLaneOf } from './holdLane.ts';
import { type Reply, runToTheEnd, type TestApi } from './testApi.ts';
import { unfinishedRequest } from './unfinishedRequest.ts';
import { type Draft, draftOf, idsOf, REASON, rightful, send, type Tenant, type World } from './world.ts';

/** The API in every condition in which it answers otherwise. All but the last look at the world's database. */
export interface Conditions {
  usual: TestApi;
  withoutDatabase: TestApi;
  withoutTemporal: TestApi;
  withoutSignIn: TestApi;
  /** One request of a caller in ten seconds. */
  rationed: TestApi;
  /** No call may wait for the ledger, and no request for a job. */
  full: TestApi;
  /** Whole requests within half a second. */
  hasty: TestApi;
  /** On a database that lacks a function. */
  buggy: TestApi;
}

/** A request that is right, as parts that a provocation makes wrong. */
export interface Scene {
  world: World;
  apis: Conditions;
  tenant: Tenant;
  operation: Operation;
  example: OperationExample;
  ids: Record<string, string>;
  draft: Draft;
  /** Sends it: as it is, but for what is named here. */
  ask(change?: { draft?: Partial<Draft>; api?: TestApi; credential?: string | undefined }): Promise<Reply>;
}

type Provocation = (scene: Scene) => Promise<Reply>;

export async function sceneOf(
  world: World,
  apis: Conditions,
  operation: Operation,
  example: OperationExample = operation.examples[0],
): Promise<Scene> {
  const tenant = await world.newTenant();
  const ids = await idsOf(world, tenant, operation, example);
  const draft = draftOf(operation, example, ids, tenant.organizationId);
  const right = rightful(operation, world, tenant);
  draft.headers = { ...draft.headers, ...right.headers };
  return {
    ...{ world, apis, tenant, operation, example, ids, draft },
    ask: (change = {}) =>
      send(
        change.api ?? apis.usual,
        { ...draft, ...change.draft },
        'credential' in change ? change.credential : right.credential,
      ),
  };
}

/** Tables of organizations and users are the app's own: here they refuse one name, one user, and to lose whoever is referred to. */
export const APP_RULES = `
  create table public.app_posts (author text references public.user_profiles (id));
  alter table public.organizations add constraint app_refuses check (name <> 'refused by the app');
  alter table public.user_profiles add constraint app_refuses check (id::text <> 'refused-by-the-app')`;

/** How each problem is provoked, wherever it is documented. A code that stands nowhere here fails the test that looks. */
const EVERYWHERE: Partial<Record<ProblemCode, Provocation>> = {
  unauthorized: ({ ask }) => ask({ credential: undefined }),
  scope_missing: async ({ ask, world, tenant, operation: { access } }) => {
    const has = typeof access === 'string' ? [] : access.scopes;
    const others = KEY_SCOPES.filter((scope) => !has.includes(scope));
    return ask({ credential: await world.keyOf(tenant, others) });
  },
  key_below_admin: async ({ ask, world, tenant }) =>
    ask({ credential: await world.keyOf(tenant, ['organization:write']), draft: { body: { role: 'admin' } } }),
  admins_only: ({ ask, tenant }) => ask({ credential: tenant.memberToken }),
  operators_only: ({ ask, tenant }) => ask({ credential: tenant.secret }),
  operator_reason_missing: ({ ask, world, draft }) => {
    const { 'Tollgate-Reason': _, ...headers } = draft.headers;
    return ask({ credential: world.operator, draft: { headers } });
  },
  not_your_organization: async ({ ask, world }) => ask({ credential: await world.strangerToken() }),

  malformed_json: ({ ask, draft }) =>
    ask({ draft: { body: undefined, text: '{"a":', headers: { ...draft.headers, ...JSON_TYPE } } }),
  invalid_request: ({ ask, draft, operation }) =>
    operation.body === undefined
      ? ask({ draft: { query: { ...draft.query, surprise: '1' } } })
      : ask({ draft: { body: { ...(draft.body as object), surprise: 1 } } }),
  unsupported_media_type: ({ ask, draft }) =>
    ask({ draft: { body: undefined, text: 'a=1', headers: { ...draft.headers, 'Content-Type': 'text/plain' } } }),
  payload_too_large: (scene) => unfinished(scene, scene.apis.usual, 10_000_000),
  request_timeout: (scene) => unfinished(scene, scene.apis.hasty, 10),

  idempotency_key_missing: ({ ask, draft }) => {
    const { 'Idempotency-Key': _, ...headers } = draft.headers;
    return ask({ draft: { headers } });
  },
  idempotency_key_invalid: ({ ask, draft }) =>
    ask({ draft: { headers: { ...draft.headers, 'Idempotency-Key': 'k'.repeat(256) } } }),
  idempotency_key_not_taken: ({ ask, draft }) =>
    ask({ draft: { body: [], headers: { ...draft.headers, 'Idempotency-Key': randomUUID() } } }),
  idempotency_key_reused: async ({ ask, draft, operation }) => {
    const first = await ask();
    for (const body of othersLike(draft.body)) {
      if (!operation.body!.schema.safeParse(body).success) continue;
      const second = await ask({ draft: { body } });
      if (second.status === 422) return second;
    }
    return first;
  },

  rate_limited: async ({ ask, apis }) => {
    await ask({ api: apis.rationed });
    return ask({ api: apis.rationed });
  },
  database_unavailable: ({ ask, apis }) => ask({ api: apis.withoutDatabase }),
  sign_in_unavailable: ({ ask, apis, tenant }) => ask({ api: apis.withoutSignIn, credential: tenant.adminToken }),
  workflows_unavailable: ({ ask, apis }) => ask({ api: apis.withoutTemporal }),
  too_many_waiters: ({ ask, apis }) => ask({ api: apis.full }),
  ledger_busy: ({ ask, apis }) => ask({ api: apis.full }),
  internal_error: ({ ask, apis, operation }) =>
    ask({ api: apis.buggy, credential: operation.access === 'operators' ? WELL_FORMED.operator : WELL_FORMED.key }),

  hold_not_found: (scene) => naming(scene, 'holdId', 'no-such-hold'),
  charge_not_found: (scene) => naming(scene, 'chargeId', 'no-such-hold.1'),
  job_not_found: (scene) => naming(scene, 'jobId', 'no-such-job'),
  route_not_found: (scene) => naming(scene, 'file', 'no-such-file.js'),
  key_not_found: (scene) => naming(scene, 'keyId', 'no-such-key'),
  member_not_found: (scene) => naming(scene, 'userId', 'no-such-user'),
  adjustment_not_found: (scene) => naming(scene, 'adjustmentId', '999999999'),
  usage_not_found: (scene) => naming(scene, 'usageId', '999999999'),
  organization_not_found: (scene) => namingOrganization(scene, 'no-such-organization'),
  limit_not_found: async ({ ask }) => {
    await ask();
    return ask();
  },

  organization_exists: ({ ask, draft, tenant }) =>
    ask({ draft: { body: { ...(draft.body as object), id: tenant.organizationId } } }),
  organization_suspended: async ({ ask, world, tenant }) => {
    await asOperator(world, 'POST', `/api/v1/organizations/${tenant.organizationId}/suspend`);
    return ask();
  },
  too_many_holds: async (scene) => {
    await capAtOne(scene);
    await holdLaneOf(scene.apis.usual, scene.tenant).hold({ feature: 'generate_goal' });
    return scene.ask();
  },
  too_many_jobs: async (scene) => {
    await capAtOne(scene);
    await scene.apis.usual.post(scene.tenant);
    return scene.ask();
  },
  too_many_limits: async ({ ask, world: { database }, tenant }) => {
    await database.superuser.query(
      `insert into tollgate.sub_limits (organization_id, token_type, scope, subject, every, tokens)
       select $1, 'goal_generation', 'user', 'user:' || n, 'day', 1 from generate_series(1, 1000) n`,
      [tenant.organizationId],
    );
    return ask();
  },
  member_elsewhere: async (scene) => naming(scene, 'userId', (await scene.world.newTenant()).memberId),
  last_admin: (scene) => naming(scene, 'userId', scene.tenant.adminId),
  key_already_ended: async ({ ask, draft }) => {
    await ask({ draft: { ...draft, method: 'DELETE', path: draft.path.replace('/rotate', ''), body: undefined } });
    return ask();
  },
  app_table_refused: (scene) => refusedByTheApp(scene),
  balance_too_large: ({ ask, draft }) => ask({ draft: { body: { ...(draft.body as object), amount: LARGEST } } }),

  feature_unknown: ({ ask, draft }) =>
    ask({ draft: { body: { ...(draft.body as object), feature: 'generate_gaol' } } }),
  tokens_insufficient: async ({ ask, world, tenant }) => {
    await world.database.superuser.query('update ai_tokens set balance = 0 where organization_id = $1', [
      tenant.organizationId,
    ]);
    return ask();
  },
  feature_not_available: async ({ ask, world, tenant }) => {
    await world.database.superuser.query(`update organizations set plan = 'starter' where id = $1`, [
      tenant.organizationId,
    ]);
    return ask();
  },
  limit_reached: async ({ ask, world: { database }, tenant }) => {
    await limitFeatures(database, tenant);
    return ask();
  },

  hold_already_ended: async ({ ask, apis, tenant, ids, operation }) => {
    const lane = holdLaneOf(apis.usual, tenant);
    // A repeat of the end that it had is no problem.
    await (operation.id === 'releaseHold' ? lane.capture(ids.holdId!) : lane.release(ids.holdId!));
    return ask();
  },
  job_already_ended: async ({ ask, world, tenant, ids }) => {
    await runToTheEnd(world.database, tenant.organizationId, ids.jobId!);
    return ask();
  },
  amount_above_hold: ({ ask, draft }) => ask({ draft: { body: { ...(draft.body as object), tokens: 1_000 } } }),
  amount_above_charge: ({ ask, draft }) => ask({ draft: { body: { ...(draft.body as object), tokens: 1_000 } } }),
};

/** Where an operation needs another one than the rest. */
const ON: Readonly<Record<string, Partial<Record<ProblemCode, Provocation>>>> = {
  captureHold: {
    // A part leaves the hold open, so only a key tells a repeat from a second part.
    idempotency_key_missing: ({ ask }) => ask({ draft: { body: { tokens: 1, isLast: false }, headers: {} } }),
    idempotency_key_reused: async ({ ask }) => {
      await ask({ draft: { body: { tokens: 1, isLast: false } } });
      return ask({ draft: { body: { tokens: 2, isLast: false } } });
    },
    tokens_insufficient: async ({ ask, world, tenant }) => {
      await takeTheRestFromTheBalance(world.database, tenant);
      return ask({ draft: { body: { tokens: 1_000_000 } } });
    },
    limit_reached: async (scene) => {
      await takeTheRestFromTheBalance(scene.world.database, scene.tenant);
      return onLimitedHold(scene, { tokens: 10 });
    },
  },
  growHold: { limit_reached: (scene) => onLimitedHold(scene, { tokens: 1 }) },
  // Where keys are looked up by both ids at once, only what is no id at all is found out before.
  rotateKey: { organization_not_found: (scene) => namingOrganization(scene, 'no id') },
  revokeKey: { organization_not_found: (scene) => namingOrganization(scene, 'no id') },
  adjustBalance: {
    tokens_insufficient: ({ ask, draft }) => ask({ draft: { body: { ...(draft.body as object), amount: -1_000 } } }),
  },
  checkBalance: {
    // Checks take no key and count in no limit: it is the deductions.
    idempotency_key_reused: async ({ ask, draft }) => {
      const body = { ...(draft.body as object), action: 'deduct' };
      await ask({ draft: { body } });
      return ask({ draft: { body: { ...body, metadata: { another: true } } } });
    },
    limit_reached: async ({ ask, draft, world, tenant }) => {
      await limitFeatures(world.database, tenant);
      return ask({ draft: { body: { ...(draft.body as object), action: 'deduct' } } });
    },
  },
};

export function provocationOf({ id }: Operation, code: ProblemCode): Provocation | undefined {
  return ON[id]?.[code] ?? EVERYWHERE[code];
}

/** Answers that no example shows: by operation and status. */
export const OTHER_ANSWERS: Readonly<Record<string, Provocation>> = {
  'cancelJob 200': async ({ ask, apis, tenant }) => {
    const { id } = (await apis.usual.post(tenant)).body;
    return ask({ draft: { path: `/api/v1/jobs/${id}/cancel` } });
  },
  'getReadiness 503': ({ ask, apis }) => ask({ api: apis.withoutDatabase }),
  ...Object.fromEntries(
    ['getOpenApi', 'getDocs', 'getDocsFile'].map((id): [string, Provocation] => [
      `${id} 304`,
      async ({ ask }) => {
        const eTag = (await ask()).headers.get('etag')!;
        return ask({ draft: { headers: { 'If-None-Match': eTag } } });
      },
    ]),
  ),
};

const JSON_TYPE = { 'Content-Type': 'application/json' };

const LARGEST = 1_000_000_000_000_000;

/** What looks like a credential and was never given to anybody. */
const WELL_FORMED = { key: `tg_live_${'k'.repeat(43)}`, operator: `tg_op_${'o'.repeat(43)}` };

function unfinished({ draft, operation, world, tenant }: Scene, api: TestApi, announcedBytes: number): Promise<Reply> {
  const { credential } = rightful(operation, world, tenant);
  const authorization: Record<string, string> =
    credential === undefined ? {} : { Authorization: `Bearer ${credential}` };
  const headers = { ...draft.headers, ...JSON_TYPE, ...authorization };
  return unfinishedRequest(new URL(draft.path, api.url), draft.method, headers, announcedBytes);
}

function asOperator({ api, operator }: World, method: string, path: string, json?: unknown): Promise<Reply> {
  return api.call(path, { method, key: operator, headers: REASON, ...(json === undefined ? {} : { json }) });
}

/** One hold of each token type, and one job. */
function capAtOne({ world, tenant }: Scene): Promise<Reply> {
  const path = `/api/v1/organizations/${tenant.organizationId}/caps`;
  return asOperator(world, 'PUT', path, { mostOpenHolds: 1, mostOpenJobs: 1 });
}

/** Needs APP_RULES. */
async function refusedByTheApp(scene: Scene): Promise<Reply> {
  const { ask, world, draft, ids } = scene;
  const { superuser } = world.database;
  if (draft.body !== undefined && 'name' in (draft.body as object)) {
    return ask({ draft: { body: { ...(draft.body as object), name: 'refused by the app' } } });
  }
  if (draft.method === 'PUT') return naming(scene, 'userId', 'refused-by-the-app');
  await superuser.query('insert into public.app_posts (author) values ($1)', [ids.userId]);
  return ask();
}

/** The same about another thing than the one that is there. */
function naming({ ask, operation, example, ids, draft, tenant }: Scene, name: string, id: string): Promise<Reply> {
  const { path } = draftOf(operation, example, { ...ids, [name]: id }, tenant.organizationId);
  return ask({ draft: { ...draft, path } });
}

/** As an operator, who alone may name any. */
function namingOrganization(scene: Scene, organizationId: string): Promise<Reply> {
  const { ask, world, operation, example, ids, draft, tenant } = scene;
  const { path } = draftOf(operation, example, { ...ids, organizationId }, tenant.organizationId);
  return ask({ credential: world.operator, draft: { path, headers: { ...draft.headers, ...REASON } } });
}

/** Bodies that differ from this one in one place. */
function othersLike(body: unknown): unknown[] {
  if (typeof body === 'number') return [body + 1, body - 1];
  if (typeof body === 'string') return [`${body} too`];
  if (typeof body === 'boolean') return [!body];
  if (body === null || typeof body !== 'object') return [];
  return Object.entries(body).flatMap(([name, value]) =>
    othersLike(value).map((other) => ({ ...body, [name]: other })),
  );
}

/** On a hold that takes all that its limit leaves: those of holds are the limits that were there when they were placed. */
async function onLimitedHold(scene: Scene, body: unknown): Promise<Reply> {
  const { apis, world, tenant, operation, example, ids, draft, ask } = scene;
  await limitFeatures(world.database, tenant, 3);
  const holdId = await holdLaneOf(apis.usual, tenant).holdId(3);
  const { path } = draftOf(operation, example, { ...ids, holdId }, tenant.organizationId);
  return ask({ draft: { ...draft, path, body } });
}

/** So many tokens are what each feature may use today. */
async function limitFeatures({ superuser }: TestDatabase, { organizationId }: Tenant, tokens = 0): Promise<void> {
  await superuser.query(
    `select tollgate.set_sub_limit(b.organization_id, b.token_type, 'feature', '*', 'day', $2)
       from tollgate.balances b where b.organization_id = $1`,
    [organizationId, tokens],
  );
}

async function takeTheRestFromTheBalance({ superuser }: TestDatabase, { organizationId }: Tenant): Promise<void> {
  await superuser.query(`select tollgate.set_capture_rule($1, 'draw')`, [organizationId]);
}
