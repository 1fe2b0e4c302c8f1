import type { Operation } from '../../contract/operation.ts';
import { KEY_SCOPES } from '../../domain/keyScopes.ts';
import type { Reply, TestApi } from '../api/testApi.ts';
import { type Draft, draftOf, idsOf, REASON, send, succeedsOnce, type Tenant, type World } from '../api/world.ts';
import { eachOf } from '../support/eachOf.ts';
import { digestOf } from './tenantDigest.ts';
import { fillVictim, type Victim } from './victim.ts';

/**
 * S2: every operation, asked by everybody who could ask, with the id of another organization in every place where one fits. What
 * must come of it follows from the operation's own line.
 */
export interface Matrix {
  routes: number;
  roles: number;
  positions: number;
  requests: number;
  /** Each says what was asked, and what came that must not. */
  wrongStatuses: string[];
  leaks: string[];
  /** Tables of the victim that are not what they were. */
  effects: string[];
  /** Lists of which the victim has no second page, so no cursor of his could be tried. */
  withoutCursor: string[];
}

/** More would wait in line for the database all the same. */
const AT_ONCE = 16;

export async function runMatrix(world: World, api: TestApi, operations: readonly Operation[]): Promise<Matrix> {
  const victim = await fillVictim(world, operations, ROLES.length);
  const before = await digestOf(world.database.superuser, victim.organizationId);
  const attempts = (await eachOf(operations, AT_ONCE, (operation) => attemptsOn(world, operation, victim))).flat();

  const wrongStatuses: string[] = [];
  const leaks: string[] = [];
  await eachOf(attempts, AT_ONCE, async ({ what, draft, credential, expected, mayKnow }) => {
    const reply = await send(api, draft, credential);
    if (!expected(reply)) wrongStatuses.push(`${what}: ${reply.status} ${reply.text.slice(0, 300)}`);
    const asked = JSON.stringify([draft, decodeURIComponent(draft.path)]);
    const answered = `${reply.text}\n${JSON.stringify([...reply.headers])}`;
    const leaked = mayKnow
      ? []
      : victim.canaries.filter((canary) => answered.includes(canary) && !asked.includes(canary));
    if (leaked.length > 0) leaks.push(`${what}: ${leaked.join(', ')}`);
  });

  const after = await digestOf(world.database.superuser, victim.organizationId);
  return {
    routes: operations.length,
    roles: ROLES.length,
    positions: new Set(attempts.map(({ position }) => position.replace(/:.*/, ''))).size,
    requests: attempts.length,
    wrongStatuses,
    leaks,
    effects: [...after].filter(([table, digest]) => before.get(table) !== digest).map(([table]) => table),
    withoutCursor: victim.withoutCursor,
  };
}

interface Attempt {
  what: string;
  position: string;
  draft: Draft;
  credential: string | undefined;
  expected: (reply: Reply) => boolean;
  /** An operator who says why may know everything. */
  mayKnow: boolean;
}

/** A live organization has no test key: then it is what looks like one. */
const NO_TEST_KEY = `tg_test_${'k'.repeat(43)}`;

type Role = (typeof ROLES)[number];
const ROLES = [
  ...(['nobody', 'stranger', 'member', 'admin', 'key', 'lesser key', 'test key'] as const),
  ...(['operator', 'operator without a reason'] as const),
] as const;

async function attemptsOn(world: World, operation: Operation, victim: Victim): Promise<Attempt[]> {
  // Of its own, so that what is done to an organization as a whole is felt by this operation alone.
  const common = await richTenant(world);
  const example = operation.examples[0];
  const shared = await idsOf(world, common, operation, example);
  const attempts: Attempt[] = [];
  for (const role of ROLES) {
    const hasNoKey = role === 'test key' && (await world.testKeyOf(common)) === null;
    const refusal = hasNoKey && operation.access !== 'anyone' ? [401] : refusalOf(operation, role);
    for (const position of positionsOf(operation, victim)) {
      // With an operator's right it is no attack.
      if (role === 'operator' && isOpenToOperators(operation) && isOfWholeOrganization(position)) continue;
      // What is refused whoever's it is, and what only reads, needs no thing of its own each time.
      const attacker = refusal === null && succeedsOnce(operation) ? await richTenant(world) : common;
      const credential = await credentialOf(world, attacker, operation, role);
      const usesUp = refusal === null && operation.method !== 'get';
      // What a member may end is what he began.
      const maker = role === 'member' ? { ...attacker, secret: attacker.memberToken } : attacker;
      const own = usesUp ? await idsOf(world, maker, operation, example) : shared;
      const draft = await attackOn(operation, role, position, own, attacker, victim);
      if (role === 'operator') Object.assign(draft.headers, REASON);
      attempts.push({
        what: `${operation.id} by ${role}, foreign: ${position}`,
        position,
        draft,
        credential,
        expected: (reply) => (refusal === null ? isRight(operation, position, reply) : refusal.includes(reply.status)),
        mayKnow: role === 'operator' && isOpenToOperators(operation),
      });
    }
  }
  return attempts;
}

async function richTenant(world: World): Promise<Tenant> {
  const tenant = await world.newTenant('enterprise');
  await world.database.superuser.query('update ai_tokens set balance = 1000000 where organization_id = $1', [
    tenant.organizationId,
  ]);
  return tenant;
}

/** Where an id of the victim can stand: nowhere, in a parameter (which an array's row names too), or beside what is asked. */
function positionsOf(operation: Operation, { cursors }: Victim): string[] {
  if (operation.access === 'anyone') return ['nowhere', 'header'];
  const params = Object.keys(operation.examples[0].params ?? {});
  return [
    'nowhere',
    ...params.map((name) => `parameter:${name}`),
    ...(params.length > 1 ? ['parameter:all'] : []),
    ...(params.includes('jobId') ? ['workflow id:jobId'] : []),
    ...(operation.organizationIn === undefined ? [] : ['organization:named']),
    ...(cursors.has(operation.id) ? ['cursor'] : []),
    // Where no organization is named, a key is the operator's own.
    ...(operation.idempotencyKey === undefined || (operation.access === 'operators' && params.length === 0)
      ? []
      : ['idempotency key']),
    'header',
  ];
}

/** Those that an operator may name by right. */
function isOfWholeOrganization(position: string): boolean {
  return position === 'parameter:organizationId' || position === 'parameter:all';
}

async function attackOn(
  operation: Operation,
  role: Role,
  position: string,
  own: Record<string, string>,
  attacker: Tenant,
  victim: Victim,
): Promise<Draft> {
  const example = operation.examples[0];
  const theirs = victim.ids.get(operation.id)!;
  const [kind, name = ''] = position.split(':');
  const ids =
    kind === 'parameter'
      ? name === 'all'
        ? theirs
        : { ...own, [name]: theirs[name]! }
      : kind === 'workflow id'
        ? { ...own, [name]: `job:${victim.organizationId}:${theirs[name]}` }
        : own;
  const draft = draftOf(
    operation,
    example,
    ids,
    kind === 'organization' ? victim.organizationId : attacker.organizationId,
  );
  if (kind === 'cursor') draft.query = { ...draft.query, limit: '1', cursor: victim.cursors.get(operation.id)! };
  if (kind === 'idempotency key') draft.headers['Idempotency-Key'] = victim.idempotencyKeys[ROLES.indexOf(role)]!;
  if (kind === 'header') for (const header of HEADERS) draft.headers[header] = victim.organizationId;
  return draft;
}

/** Such as other systems choose a tenant by. */
const HEADERS = ['X-Organization-Id', 'Tollgate-Organization', 'X-Tenant-Id', 'X-Forwarded-User', 'X-User-Id'];

async function credentialOf(
  world: World,
  attacker: Tenant,
  { access }: Operation,
  role: Role,
): Promise<string | undefined> {
  switch (role) {
    case 'nobody':
      return undefined;
    case 'stranger':
      return world.strangerToken();
    case 'member':
      return attacker.memberToken;
    case 'admin':
      return attacker.adminToken;
    case 'key':
      return attacker.secret;
    case 'lesser key': {
      const needed = typeof access === 'string' ? [] : access.scopes;
      return world.keyOf(
        attacker,
        KEY_SCOPES.filter((scope) => !needed.includes(scope)),
      );
    }
    case 'test key':
      return (await world.testKeyOf(attacker)) ?? NO_TEST_KEY;
    case 'operator':
    case 'operator without a reason':
      return world.operator;
  }
}

const isOpenToOperators = ({ access }: Operation) =>
  access === 'operators' || (typeof access !== 'string' && access.operators);

/** The statuses with which somebody is refused whatever he names, by the operation's line; null: he may ask. */
function refusalOf(operation: Operation, role: Role): number[] | null {
  const { access } = operation;
  if (access === 'anyone') return null;
  switch (role) {
    case 'nobody':
      return [401];
    case 'stranger':
    case 'lesser key':
      return [403];
    case 'operator without a reason':
      return isOpenToOperators(operation) ? [400] : [403];
    case 'operator':
      return isOpenToOperators(operation) ? null : [403];
    case 'member':
      return access === 'operators' || access.role === 'admin' ? [403] : null;
    case 'admin':
      return access === 'operators' ? [403] : null;
    case 'key':
    case 'test key':
      return access === 'operators' || access.scopes.length === 0 ? [403] : null;
  }
}

/** Of who may ask: his own is answered as the example says, another's as if there were no such thing. */
function isRight(operation: Operation, position: string, reply: Reply): boolean {
  const [kind] = position.split(':');
  const { status } = operation.examples[0];
  switch (kind) {
    case 'parameter':
    case 'workflow id':
    case 'organization':
      if (Array.isArray(reply.body)) return reply.body.every(({ code }) => /_not_found$|^not_your_/.test(code));
      // A user belongs to one organization; that he belongs to another one is what he who would add him is told.
      return [403, 404].includes(reply.status) || reply.body?.code === 'member_elsewhere';
    case 'cursor':
      return reply.status === 400;
    case 'idempotency key':
      return reply.status === status && !reply.headers.has('idempotent-replayed');
    default:
      return operation.access === 'anyone' ? reply.status in operation.answers : reply.status === status;
  }
}
