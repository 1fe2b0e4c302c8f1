import { Hono } from 'hono';
import {
  type CreatedKey,
  createKey as createOperation,
  getKey,
  KEYS_PATH,
  type Key,
  type KeyList,
  keyListQuery,
  keyRequest,
  listKeys as listOperation,
  type RotatedKey,
  revokeKey as revokeOperation,
  rotateKey as rotateOperation,
  rotationRequest,
} from '../../contract/keys.ts';
import { createKey, findKeys, listKeys, revokeKey, rotateKey } from '../../db/apiKeys.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import type { KeyCreationRefusal, KeyRotationRefusal } from '../../domain/refusals.ts';
import { actOf, lostRight } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { readKeyCursor, writeKeyCursor } from '../keyCursor.ts';
import { pageOf, refuseCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';

/** The keys of an organization. A secret is in the answer that made it, and in no other. */
export function keyRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();

  mount(routes, authentication, listOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const query = keyListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor } = query.data;
    const list = [organizationId, 'keys'];
    const after = cursor === undefined ? null : readKeyCursor(list, cursor);
    if (cursor !== undefined && after === null) return refuseCursor(c);
    const found = await listKeys(pool, organizationId, { limit: limit + 1, after });
    const { page: keys, nextCursor } = pageOf(found, limit, (last) => writeKeyCursor(list, last));
    return c.json({ keys, nextCursor } satisfies KeyList);
  });

  mount(routes, authentication, createOperation, jsonBody, async (c) => {
    const organizationId = c.get('organizationId');
    const parsed = keyRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const { name, scopes, expiresAt = null } = parsed.data;
    const made = await createKey(pool, actOf(c), { organizationId, name, scopes, expiresAt });
    if (!('secret' in made)) return refuse(c, made.outcome, made.scope);
    c.header('Location', addressOf(organizationId, made.id));
    return c.json({ ...(await one(organizationId, made.id)), secret: made.secret } satisfies CreatedKey, 201);
  });

  mount(routes, authentication, getKey, async (c) => {
    const found = await find(c.get('organizationId'), c.req.param('keyId')!);
    return found === null ? problemReply(c, 'key_not_found') : c.json(found satisfies Key);
  });

  mount(routes, authentication, rotateOperation, jsonBody, async (c) => {
    const [organizationId, keyId] = [c.get('organizationId'), c.req.param('keyId')!];
    const parsed = rotationRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const rotated = ID_PATTERN.test(keyId)
      ? await rotateKey(pool, actOf(c), { organizationId, keyId, ...parsed.data })
      : ({ outcome: 'key_unknown', scope: null } as const);
    if (!('secret' in rotated)) return refuse(c, rotated.outcome, rotated.scope);
    const [successor, old] = [await one(organizationId, rotated.id), await one(organizationId, keyId)];
    c.header('Location', addressOf(organizationId, rotated.id));
    return c.json(
      { ...successor, secret: rotated.secret, replaces: { id: keyId, expiresAt: old.expiresAt } } satisfies RotatedKey,
      201,
    );
  });

  mount(routes, authentication, revokeOperation, async (c) => {
    const [organizationId, keyId] = [c.get('organizationId'), c.req.param('keyId')!];
    const outcome = ID_PATTERN.test(keyId) ? await revokeKey(pool, actOf(c), { organizationId, keyId }) : 'key_unknown';
    return outcome === 'revoked' ? c.json((await one(organizationId, keyId)) satisfies Key) : refuse(c, outcome);
  });

  async function find(organizationId: string, keyId: string): Promise<Key | null> {
    const [found] = ID_PATTERN.test(keyId) ? await findKeys(pool, organizationId, [keyId]) : [];
    return found ?? null;
  }

  /** One that was just changed, and keys are never deleted. */
  async function one(organizationId: string, keyId: string): Promise<Key> {
    return (await find(organizationId, keyId))!;
  }

  return routes;
}

function refuse(
  c: ApiContext,
  outcome: KeyCreationRefusal | KeyRotationRefusal,
  scope: string | null = null,
): Response {
  switch (outcome) {
    case 'not_an_admin':
      return problemReply(c, lostRight(c));
    case 'organization_unknown':
      return problemReply(c, 'organization_not_found');
    case 'key_unknown':
      return problemReply(c, 'key_not_found');
    case 'key_ended':
      return problemReply(c, 'key_already_ended');
    case 'scope_missing':
      return problemReply(c, 'scope_missing', { scope: scope! });
    case 'expiry_past':
      return problemReply(c, 'invalid_request', { errors: [{ path: 'expiresAt', message: 'must lie ahead' }] });
    case 'expiry_beyond_own':
      return problemReply(c, 'invalid_request', {
        errors: [{ path: 'expiresAt', message: 'must not lie after the end of the key that asks' }],
      });
  }
}

function addressOf(organizationId: string, keyId: string): string {
  return `${KEYS_PATH.replace('{organizationId}', organizationId)}/${keyId}`;
}
