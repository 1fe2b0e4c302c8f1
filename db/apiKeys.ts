import { createHash, randomBytes, randomUUID } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import { call } from './faults.ts';

export const API_KEY_SCOPES = ['jobs:read', 'jobs:write', 'tokens:read', 'tokens:write'] as const;
export type ApiKeyScope = (typeof API_KEY_SCOPES)[number];

/** Who an API key is: its own id, the organization it belongs to, and what it may do. */
export interface ApiKey {
  id: string;
  organizationId: string;
  scopes: ApiKeyScope[];
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
  const secret = `tg_${key.mode ?? 'live'}_${randomBytes(32).toString('base64url')}`;
  await database.query('select tollgate.create_api_key($1, $2, $3, $4, $5)', [
    id,
    key.organizationId,
    key.name,
    hash(secret),
    key.scopes,
  ]);
  return { id, secret };
}

/** Null for a key that is unknown, revoked or over; the answer does not tell which. */
export async function authenticateKey(pool: Pool, secret: string): Promise<ApiKey | null> {
  const { rows } = await call(() =>
    pool.query('select k.id, k.organization_id as "organizationId", k.scopes from tollgate.authenticate_key($1) k', [
      hash(secret),
    ]),
  );
  return rows[0] ?? null;
}

function hash(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
