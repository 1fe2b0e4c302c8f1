import { randomUUID } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import type { KeyScope } from '../domain/keyScopes.ts';
import { call } from './faults.ts';
import { newSecret, secretHash } from './secrets.ts';

/** Who an API key is: its own id, the organization it belongs to, and what it may do. */
export interface ApiKey {
  id: string;
  organizationId: string;
  scopes: KeyScope[];
}

/**
 * Makes a key. The secret is answered once and never stored: only its SHA-256 is, which suffices because the secret is
 * 256 random bits and not a password. The connection must be the owner's or a superuser's.
 */
export async function createApiKey(
  database: Pool | ClientBase,
  key: { organizationId: string; name: string; scopes: readonly string[]; mode?: 'live' | 'test' },
): Promise<{ id: string; secret: string }> {
  const id = randomUUID();
  const secret = newSecret(`tg_${key.mode ?? 'live'}_`);
  await database.query('select tollgate.create_api_key($1, $2, $3, $4, $5)', [
    id,
    key.organizationId,
    key.name,
    secretHash(secret),
    key.scopes,
  ]);
  return { id, secret };
}

/** Null for a key that is unknown, revoked or over; the answer does not tell which. */
export async function authenticateKey(pool: Pool, secret: string): Promise<ApiKey | null> {
  const { rows } = await call(() =>
    pool.query('select k.id, k.organization_id as "organizationId", k.scopes from tollgate.authenticate_key($1) k', [
      secretHash(secret),
    ]),
  );
  return rows[0] ?? null;
}
