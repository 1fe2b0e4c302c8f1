import type { Pool } from 'pg';
import { call } from './faults.ts';
import type { Act } from './organizations.ts';

/** What an operator does to one organization. */
export type OperatorAct = Act & { organizationId: string };

export type OperatorRefusal = 'not_an_operator' | 'organization_unknown';

/** Admits nothing new for an organization, until it is resumed. See migrations/functions/suspend_organization.sql. */
export async function suspendOrganization(
  pool: Pool,
  { actor, organizationId, reason, requestId }: OperatorAct,
): Promise<{ outcome: 'suspended'; suspendedSince: Date } | { outcome: OperatorRefusal }> {
  const { rows } = await call(() =>
    pool.query(
      'select s.outcome, s.suspended_since as "suspendedSince" from tollgate.suspend_organization($1, $2, $3, $4) s',
      [actor, organizationId, reason, requestId],
    ),
  );
  return rows[0];
}

/** Serves it again. See migrations/functions/resume_organization.sql. */
export async function resumeOrganization(
  pool: Pool,
  { actor, organizationId, reason, requestId }: OperatorAct,
): Promise<{ outcome: 'resumed' | OperatorRefusal }> {
  const { rows } = await call(() =>
    pool.query('select tollgate.resume_organization($1, $2, $3, $4) as outcome', [
      actor,
      organizationId,
      reason,
      requestId,
    ]),
  );
  return rows[0];
}
