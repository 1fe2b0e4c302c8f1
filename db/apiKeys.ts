import { randomUUID } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import type { KeyScope } from '../domain/keyScopes.ts';
import type { KeyCreationRefusal, KeyRotationRefusal } from '../domain/refusals.ts';
import { call } from './faults.ts';
import { isoInstant } from './isoInstant.ts';
import type { Act } from './organizations.ts';
import { newSecret, PREFIX_LENGTH, secretHash } from './secrets.ts';
import { readAs } from './tenant.ts';

/** A key without its secret. Instants are ISO 8601 with microseconds. `prefix`: of the secret; null: made before it was kept. */
export interface StoredKey {
  id: string;
  name: string;
  mode: 'live' | 'test';
  prefix: string | null;
  scopes: KeyScope[];
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
  lastUsedAt: string | null;
  replacedBy: string | null;
}

/**
 * Makes a key. The secret is answered once and never stored: only its SHA-256 is, which suffices because the secret is
 * 256 random bits and not a password. The connection must be the owner's or a superuser's.
 */
export async function createApiKey(
  database: Pool | ClientBase,
  key: { organizationId: string; name: string; scopes: readonly string[] },
): Promise<{ id: string; secret: string }> {
  const id = randomUUID();
  const secret = await secretFor(database, key.organizationId);
  await database.query('select tollgate.create_api_key($1, $2, $3, $4, $5, $6)', [
    id,
    key.organizationId,
    key.name,
    secretHash(secret),
    secret.slice(0, PREFIX_LENGTH),
    key.scopes,
  ]);
  return { id, secret };
}

/** An admin makes a key. See migrations/functions/create_key.sql. `scope`: the first that whoever asks lacks. */
export async function createKey(
  pool: Pool,
  { actor, reason, requestId }: Act,
  key: { organizationId: string; name: string; scopes: readonly KeyScope[]; expiresAt: string | null },
): Promise<{ outcome: 'created'; id: string; secret: string } | { outcome: KeyCreationRefusal; scope: string | null }> {
  const id = randomUUID();
  return call(async () => {
    const secret = await secretFor(pool, key.organizationId);
    const { rows } = await pool.query(
      'select k.outcome, k.scope from tollgate.create_key($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) k',
      [
        ...[actor, key.organizationId, id, key.name, secretHash(secret), secret.slice(0, PREFIX_LENGTH)],
        ...[key.scopes, key.expiresAt, reason, requestId],
      ],
    );
    return rows[0].outcome === 'created' ? { outcome: 'created', id, secret } : rows[0];
  });
}

/** An admin gives a key a successor. See migrations/functions/rotate_key.sql. `scope`: the first that whoever asks lacks. */
export async function rotateKey(
  pool: Pool,
  { actor, reason, requestId }: Act,
  { organizationId, keyId, overlapSeconds }: { organizationId: string; keyId: string; overlapSeconds: number },
): Promise<{ outcome: 'rotated'; id: string; secret: string } | { outcome: KeyRotationRefusal; scope: string | null }> {
  const id = randomUUID();
  return call(async () => {
    const secret = await secretFor(pool, organizationId);
    const { rows } = await pool.query(
      'select k.outcome, k.scope from tollgate.rotate_key($1, $2, $3, $4, $5, $6, $7, $8, $9) k',
      [
        ...[actor, organizationId, keyId, id, secretHash(secret), secret.slice(0, PREFIX_LENGTH)],
        ...[overlapSeconds, reason, requestId],
      ],
    );
    return rows[0].outcome === 'rotated' ? { outcome: 'rotated', id, secret } : rows[0];
  });
}

/** An admin ends a key at once. See migrations/functions/revoke_key.sql. */
export async function revokeKey(
  pool: Pool,
  { actor, reason, requestId }: Act,
  { organizationId, keyId }: { organizationId: string; keyId: string },
): Promise<'revoked' | 'not_an_admin' | 'key_unknown'> {
  const { rows } = await call(() =>
    pool.query('select tollgate.revoke_key($1, $2, $3, $4, $5) as outcome', [
      actor,
      organizationId,
      keyId,
      reason,
      requestId,
    ]),
  );
  return rows[0].outcome;
}

/** Where a page of keys ended. */
export type KeyPosition = Pick<StoredKey, 'createdAt' | 'id'>;

/** Keys of an organization, the newest first. */
export function listKeys(
  pool: Pool,
  organizationId: string,
  { limit, after }: { limit: number; after: KeyPosition | null },
): Promise<StoredKey[]> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      `${KEYS} where k.organization_id = $1 and ($2::timestamptz is null or (k.created_at, k.id) < ($2, $3::text))
        order by k.created_at desc, k.id desc limit $4`,
      [organizationId, after?.createdAt ?? null, after?.id ?? null, limit],
    );
    return rows;
  });
}

/** These keys of an organization, in the order asked for; those that it does not have are left out. */
export function findKeys(pool: Pool, organizationId: string, keyIds: readonly string[]): Promise<StoredKey[]> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      `${KEYS} where k.organization_id = $1 and k.id = any ($2) order by array_position($2, k.id)`,
      [organizationId, keyIds],
    );
    return rows;
  });
}

const KEYS = `
  select k.id, k.name, tollgate.mode_of(k.organization_id) as mode, k.prefix, k.scopes, k.replaced_by as "replacedBy",
         ${isoInstant('k.created_at')} as "createdAt", ${isoInstant('k.expires_at')} as "expiresAt",
         ${isoInstant('k.revoked_at')} as "revokedAt", ${isoInstant('k.last_used_at')} as "lastUsedAt"
    from tollgate.tenant_keys() k`;

/** A new secret of the organization's mode: keys of either open only their own kind, and are told apart at a glance. */
async function secretFor(database: Pool | ClientBase, organizationId: string): Promise<string> {
  const { rows } = await database.query<{ mode: 'live' | 'test' }>('select tollgate.mode_of($1) as mode', [
    organizationId,
  ]);
  return newSecret(`tg_${rows[0]!.mode}_`);
}
