import type { Pool } from 'pg';
import { call } from './faults.ts';

/** The organization that a signed-in user belongs to by his profile; null for somebody without one. */
export async function organizationOf(pool: Pool, userId: string): Promise<string | null> {
  const { rows } = await call(() => pool.query('select tollgate.organization_of($1) as id', [userId]));
  return rows[0]?.id ?? null;
}
