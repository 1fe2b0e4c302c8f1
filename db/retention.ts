import type { Pool } from 'pg';
import { call } from './faults.ts';
import { readAs } from './tenant.ts';

/** Days of 24 hours; null: for ever. */
export interface Retention {
  promptDays: number | null;
  resultDays: number | null;
  idempotencyDays: number;
}

/** How long an organization keeps what; null: there is no such organization. */
export function findRetention(pool: Pool, organizationId: string): Promise<Retention | null> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      `select s.prompt_days as "promptDays", s.result_days as "resultDays", coalesce(s.idempotency_days, 90) as "idempotencyDays"
         from public.organizations o
         left join tollgate.retention_settings s on s.organization_id = o.id
        where o.id = $1`,
      [organizationId],
    );
    return rows[0] ?? null;
  });
}

/** See migrations/functions/set_retention.sql. Repeating it is safe. */
export async function setRetention(
  pool: Pool,
  {
    organizationId,
    actor,
    retention: { promptDays, resultDays, idempotencyDays },
    reason,
    requestId,
  }: { organizationId: string; actor: string; retention: Retention; reason: string | null; requestId: string },
): Promise<'set' | 'unchanged' | 'not_an_admin' | 'organization_unknown'> {
  const { rows } = await call(() =>
    pool.query('select tollgate.set_retention($1, $2, $3, $4, $5, $6, $7) as outcome', [
      ...[organizationId, actor, promptDays, resultDays, idempotencyDays, reason, requestId],
    ]),
  );
  return rows[0].outcome;
}

export interface ErasedPage {
  /** The organization after which the next page begins; null with `isLast`. */
  next: string | null;
  isLast: boolean;
  organizations: number;
  inputs: number;
  results: number;
  records: number;
}

/** Erases up to `limit` things that are no longer kept. See migrations/functions/apply_retention.sql; repeating it is safe. */
export async function applyRetention(
  pool: Pool,
  { after, limit }: { after: string | null; limit: number },
): Promise<ErasedPage> {
  const { rows } = await call(() => pool.query('select * from tollgate.apply_retention($1, $2)', [after, limit]));
  const [{ next_organization: next, is_last: isLast, ...counts }] = rows;
  return { next, isLast, ...counts };
}
