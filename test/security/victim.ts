import { randomUUID } from 'node:crypto';
import type { Operation } from '../../contract/operation.ts';
import { createApiKey } from '../../db/apiKeys.ts';
import { beginJob, commitJob, storeResult } from '../../db/jobs.ts';
import { draftOf, idsOf, rightful, send, type Tenant, type World } from '../api/world.ts';

/** An organization that has something of everything, and that nobody else may hear of. */
export interface Victim extends Tenant {
  /** By operation: things of his that its examples could name. */
  ids: Map<string, Record<string, string>>;
  /** By operation: of a page of his. */
  cursors: Map<string, string>;
  /** He has used each of them with every operation that takes one. */
  idempotencyKeys: string[];
  /** Texts that stand in nobody else's answers. */
  canaries: string[];
  withoutCursor: string[];
}

/** With so many Idempotency-Keys used, one for each who may try them. */
export async function fillVictim(world: World, operations: readonly Operation[], keys: number): Promise<Victim> {
  const { database, api } = world;
  const tenant = await world.newTenant('enterprise');
  const { organizationId, secret } = tenant;
  const canary = (what: string) => `canary-${what}-${randomUUID().slice(0, 8)}`;
  const texts = {
    name: canary('name'),
    keyName: canary('key-name'),
    metadata: canary('metadata'),
    input: canary('input'),
    result: canary('result'),
  };
  await database.superuser.query('update organizations set name = $2 where id = $1', [organizationId, texts.name]);
  await createApiKey(database.superuser, { organizationId, name: texts.keyName, scopes: ['tokens:read'] });
  await api.call('/api/v1/tokens/check-balance', {
    key: secret,
    json: { organizationId, featureUsed: 'generate_goal', action: 'deduct', metadata: { note: texts.metadata } },
  });
  for (let n = 0; n < 2; n++) {
    const { id } = (
      await api.post(tenant, { feature: 'generate_goal', input: { industry: texts.input, horizonMonths: 3 } })
    ).body;
    await beginJob(database.worker, organizationId, id);
    await storeResult(database.worker, organizationId, id, { title: texts.result }, { totalTokens: 1 });
    await commitJob(database.worker, organizationId, id);
  }

  const ids = new Map<string, Record<string, string>>();
  const cursors = new Map<string, string>();
  const withoutCursor: string[] = [];
  const idempotencyKeys = Array.from({ length: keys }, (_, n) => `victim-${n}-${randomUUID()}`);
  for (const operation of operations) {
    const example = operation.examples[0];
    // Twice, so that a list has a second page.
    await idsOf(world, tenant, operation, example);
    ids.set(operation.id, await idsOf(world, tenant, operation, example));
  }
  const isListed = ({ access, query }: Operation) =>
    access !== 'operators' && query !== undefined && 'cursor' in query.shape;
  for (const operation of operations.filter(isListed)) {
    const example = operation.examples[0];
    const { credential, headers } = rightful(operation, world, tenant);
    const list = draftOf(operation, example, ids.get(operation.id)!, organizationId);
    const query = { ...list.query, limit: '1' };
    const { body } = await send(api, { ...list, query, headers: { ...list.headers, ...headers } }, credential);
    if (typeof body?.nextCursor === 'string') cursors.set(operation.id, body.nextCursor);
    else withoutCursor.push(operation.id);
  }
  const { rows } = await database.superuser.query<{ id: string }>(
    `select h.id from tollgate.holds h where h.organization_id = $1
     union all select j.id from tollgate.jobs j where j.organization_id = $1
     union all select k.id from tollgate.api_keys k where k.organization_id = $1
     union all select u.id from public.user_profiles u where u.organization_id = $1`,
    [organizationId],
  );
  // After the look for canaries: what has an id by its key has the same one in every organization that uses the key.
  await Promise.all(
    operations
      .filter((operation) => operation.idempotencyKey !== undefined)
      .flatMap((operation) => idempotencyKeys.map((key) => useKey(world, tenant, operation, key))),
  );
  const canaries = [...Object.values(texts), organizationId, ...rows.map(({ id }) => id)];
  return { ...tenant, ids, cursors, idempotencyKeys, canaries, withoutCursor };
}

async function useKey(world: World, tenant: Tenant, operation: Operation, key: string): Promise<void> {
  const [example] = operation.examples;
  const { credential, headers } = rightful(operation, world, tenant);
  const used = draftOf(operation, example, await idsOf(world, tenant, operation, example), tenant.organizationId);
  await send(world.api, { ...used, headers: { ...used.headers, ...headers, 'Idempotency-Key': key } }, credential);
}
