import { randomUUID } from 'node:crypto';
import { createSessions } from '../../api/sessions.ts';
import type { Operation, OperationExample } from '../../contract/operation.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { beginJob } from '../../db/jobs.ts';
import { createOperator } from '../../db/operators.ts';
import { newSecret, PREFIX_LENGTH, secretHash } from '../../db/secrets.ts';
import { type AuthStandIn, startAuthStandIn } from '../../dev/authStandIn.ts';
import type { Plan } from '../../domain/catalog.ts';
import { KEY_SCOPES, type KeyScope } from '../../domain/keyScopes.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { holdLaneOf } from './holdLane.ts';
import { addProfile } from './people.ts';
import { type Reply, startTestApi, type TestApi, type TestApiOptions } from './testApi.ts';

/** A database with organizations in it, everybody who could ask, and the API: where examples are tried. */
export interface World {
  database: TestDatabase;
  api: TestApi;
  signIn: AuthStandIn;
  /** Its credential. */
  operator: string;
  newTenant(plan?: Plan): Promise<Tenant>;
  /** A session token of somebody who belongs nowhere. */
  strangerToken(): Promise<string>;
  /** A key of a tenant with these scopes. */
  keyOf(tenant: TestOrganization, scopes: readonly KeyScope[]): Promise<string>;
  /** A test key with every scope of a live tenant; null where there can be none. */
  testKeyOf(tenant: TestOrganization): Promise<string | null>;
  close(): Promise<void>;
}

/** An organization with a key of every scope (`secret`), a member and an admin. */
export interface Tenant extends TestOrganization {
  memberId: string;
  memberToken: string;
  /** The only admin. */
  adminId: string;
  adminToken: string;
}

export async function startWorld({ plant }: { plant?: TestApiOptions['plant'] | undefined } = {}): Promise<World> {
  const [database, signIn] = await Promise.all([freshDatabase(), startAuthStandIn()]);
  const api = await startTestApi(database, {
    sessions: createSessions({ SUPABASE_URL: signIn.url }),
    ...(plant === undefined ? {} : { plant }),
  });
  const { credential } = await createOperator(database.superuser, { name: 'on call' });
  return {
    database,
    api,
    signIn,
    operator: credential,
    newTenant: async (plan = 'pro') => {
      const organization = await createOrganization(database.superuser, plan);
      const memberId = `user-${randomUUID()}`;
      const adminId = `user-${randomUUID()}`;
      await database.superuser.query(
        `insert into public.user_profiles (id, organization_id, role) values ($1, $3, 'member'), ($2, $3, 'admin')`,
        [memberId, adminId, organization.organizationId],
      );
      const [memberToken, adminToken] = await Promise.all(
        [memberId, adminId].map((userId) => signIn.issueToken({ userId })),
      );
      return { ...organization, memberId, adminId, memberToken: memberToken!, adminToken: adminToken! };
    },
    strangerToken: () => signIn.issueToken({ userId: `stranger-${randomUUID()}` }),
    keyOf: async ({ organizationId }, scopes) =>
      (await createApiKey(database.superuser, { organizationId, name: 'another', scopes })).secret,
    testKeyOf: async ({ organizationId }) => {
      const secret = newSecret('tg_test_');
      const made = database.superuser.query('select tollgate.create_api_key($1, $2, $3, $4, $5, $6)', [
        ...[randomUUID(), organizationId, 'test', secretHash(secret), secret.slice(0, PREFIX_LENGTH), KEY_SCOPES],
      ]);
      return made.then(
        () => secret,
        () => null,
      );
    },
    close: async () => {
      await Promise.all([api.close(), signIn.stop()]);
      await database.drop();
    },
  };
}

/** For each name of a parameter: makes one of these in the tenant, fit for whatever an example does with it, and answers its id. */
const PARAMETERS: Readonly<Record<string, (world: World, tenant: Tenant) => Promise<string>>> = {
  organizationId: async (_, { organizationId }) => organizationId,
  holdId: ({ api }, tenant) => holdLaneOf(api, tenant).holdId(3),
  chargeId: async ({ api }, tenant) => {
    const lane = holdLaneOf(api, tenant);
    return (await lane.capture(await lane.holdId(2))).body.chargeId;
  },
  /** Of a job that runs. */
  jobId: async ({ api, database }, tenant) => {
    const { id } = (await api.post(tenant)).body;
    await beginJob(database.worker, tenant.organizationId, id);
    return id;
  },
  keyId: async ({ database }, { organizationId }) =>
    (await createApiKey(database.superuser, { organizationId, name: 'one', scopes: ['tokens:read'] })).id,
  /** Of a member. */
  userId: async ({ database }, { organizationId }) => {
    const userId = `user-${randomUUID()}`;
    await addProfile(database, userId, organizationId, 'member');
    return userId;
  },
  adjustmentId: async ({ api, operator }, { organizationId }) => {
    const made = await api.call(`/api/v1/organizations/${organizationId}/adjustments`, {
      key: operator,
      headers: { ...REASON, 'Idempotency-Key': randomUUID() },
      json: { tokenType: 'goal_generation', amount: 5, reason: 'goodwill' },
    });
    return String(made.body.id);
  },
  /** Of a charge. */
  usageId: async ({ api }, tenant) => {
    const lane = holdLaneOf(api, tenant);
    await lane.capture(await lane.holdId(2));
    return String((await api.call('/api/v1/usage/log?limit=1', { key: tenant.secret })).body.lines[0].id);
  },
  file: async () => 'swagger-ui.css',
};

/** By operation: what must be there before its examples, beyond what they name. */
const ARRANGEMENTS: Readonly<Record<string, (world: World, tenant: Tenant) => Promise<unknown>>> = {
  liftLimit: ({ database }, { organizationId }) =>
    database.superuser.query(`select tollgate.set_sub_limit($1, 'goal_generation', 'user', '*', 'day', 30)`, [
      organizationId,
    ]),
};

/** Whether its examples succeed once in each tenant. */
export function succeedsOnce({ id }: Operation): boolean {
  return id in ARRANGEMENTS;
}

/** Ids of a tenant's own for all that an example names. */
export async function idsOf(
  world: World,
  tenant: Tenant,
  { id }: Operation,
  { params = {} }: OperationExample,
): Promise<Record<string, string>> {
  await ARRANGEMENTS[id]?.(world, tenant);
  const ids: Record<string, string> = {};
  for (const name of Object.keys(params)) {
    const make = PARAMETERS[name];
    if (make === undefined) throw new Error(`Say in PARAMETERS of test/api/world.ts how to make a ${name}.`);
    ids[name] = await make(world, tenant);
  }
  return ids;
}

/** A request before it is sent: each part can still be made wrong. */
export interface Draft {
  method: string;
  path: string;
  query: Record<string, string>;
  /** Sent as JSON, where it is there. */
  body?: unknown;
  /** Sent as it is, in place of a body. */
  text?: string;
  headers: Record<string, string>;
}

/** An example as a request of this tenant, with these ids in place of its own. It carries no credential yet. */
export function draftOf(
  operation: Operation,
  example: OperationExample,
  ids: Record<string, string>,
  organizationId: string,
): Draft {
  const real = new Map(Object.entries(example.params ?? {}).map(([name, value]) => [value, ids[name]!]));
  const replaced = (part: unknown): unknown => {
    if (typeof part === 'string') return real.get(part) ?? part;
    if (Array.isArray(part)) return part.map(replaced);
    if (part === null || typeof part !== 'object') return part;
    return Object.fromEntries(Object.entries(part).map(([name, value]) => [name, replaced(value)]));
  };
  const query = replaced(example.query ?? {}) as Record<string, string>;
  const body = replaced(example.body);
  if (operation.organizationIn === 'query') query.organizationId = organizationId;
  if (operation.organizationIn === 'body') (body as Record<string, unknown>).organizationId = organizationId;
  const isKeyed = operation.idempotencyKey !== undefined && !Array.isArray(body);
  return {
    method: operation.method.toUpperCase(),
    path: operation.path.replaceAll(/\{(\w+)\}/g, (_, name) => encodeURIComponent(ids[name]!)),
    query,
    ...(body === undefined ? {} : { body }),
    headers: isKeyed ? { 'Idempotency-Key': randomUUID() } : {},
  };
}

export function send(
  api: TestApi,
  { method, path, query, body, text, headers }: Draft,
  credential?: string,
): Promise<Reply> {
  const search = new URLSearchParams(query).toString();
  return api.call(search === '' ? path : `${path}?${search}`, {
    method,
    headers,
    ...(credential === undefined ? {} : { key: credential }),
    ...(body === undefined ? {} : { json: body }),
    ...(text === undefined ? {} : { body: text }),
  });
}

/** With whose credential an example is tried, and the headers that go with it. */
export function rightful({ access }: Operation, world: World, tenant: Tenant) {
  if (access === 'anyone') return { credential: undefined, headers: {} };
  if (access === 'operators') return { credential: world.operator, headers: REASON };
  return { credential: access.scopes.length === 0 ? tenant.adminToken : tenant.secret, headers: {} };
}

export const REASON = { 'Tollgate-Reason': 'Ticket 4711: the customer asked for it.' };
