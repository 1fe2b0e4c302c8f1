import type { Pool } from 'pg';
import { call } from './faults.ts';

export interface Membership {
  organizationId: string;
  role: 'member' | 'admin';
}

/** The organization that a signed-in user belongs to by his profile, and as what; null for somebody without one. */
export async function membershipOf(pool: Pool, userId: string): Promise<Membership | null> {
  const { rows } = await call(() =>
    pool.query('select m.organization_id as "organizationId", m.role from tollgate.membership_of($1) m', [userId]),
  );
  return rows[0] ?? null;
}
