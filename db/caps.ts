import type { Pool } from 'pg';
import { call } from './faults.ts';
import type { OperatorAct, OperatorRefusal } from './suspensions.ts';

/** Null: as many as is usual. */
export interface CapsToSet {
  mostOpenHolds: number | null;
  mostOpenJobs: number | null;
}

/** Sets how much an organization may have open at once; answers the caps in force. See migrations/functions/set_caps.sql. */
export async function setCaps(
  pool: Pool,
  { actor, organizationId, reason, requestId }: OperatorAct,
  { mostOpenHolds, mostOpenJobs }: CapsToSet,
): Promise<{ outcome: 'set'; mostOpenHolds: number; mostOpenJobs: number } | { outcome: OperatorRefusal }> {
  const { rows } = await call(() =>
    pool.query(
      `select s.outcome, s.most_open_holds as "mostOpenHolds", s.most_open_jobs as "mostOpenJobs"
         from tollgate.set_caps($1, $2, $3, $4, $5, $6) s`,
      [actor, organizationId, mostOpenHolds, mostOpenJobs, reason, requestId],
    ),
  );
  return rows[0];
}
