import { randomUUID } from 'node:crypto';
import type { ClientBase, Pool } from 'pg';
import { call } from './faults.ts';
import { newSecret, secretHash } from './secrets.ts';

/**
 * Makes an operator. The credential is answered once and never stored. The connection must be the owner's or a superuser's.
 */
export async function createOperator(
  database: Pool | ClientBase,
  { name, expiresAt = null }: { name: string; expiresAt?: Date | null },
): Promise<{ id: string; credential: string }> {
  const id = randomUUID();
  const credential = newSecret('tg_op_');
  await database.query('select tollgate.create_operator($1, $2, $3, $4)', [
    id,
    name,
    secretHash(credential),
    expiresAt,
  ]);
  return { id, credential };
}

/** Answers whether there was one whose credential still worked. The connection must be the owner's or a superuser's. */
export async function revokeOperator(database: Pool | ClientBase, id: string): Promise<boolean> {
  const { rows } = await database.query('select tollgate.revoke_operator($1) as revoked', [id]);
  return rows[0].revoked;
}

/** Null for a credential that is unknown, revoked or over; the answer does not tell which. */
export async function authenticateOperator(pool: Pool, credential: string): Promise<{ id: string } | null> {
  const { rows } = await call(() =>
    pool.query('select o.id from tollgate.authenticate_operator($1) o', [secretHash(credential)]),
  );
  return rows[0] ?? null;
}
