import type { Pool } from 'pg';
import { call } from './faults.ts';
import { isoInstant } from './isoInstant.ts';
import type { Act } from './organizations.ts';
import { readAs } from './tenant.ts';

/** Who did what to whom, and why. `at` in ISO 8601 with microseconds. */
export interface AuditEntry {
  id: number;
  at: string;
  organizationId: string | null;
  actor: string;
  act: string;
  subject: string | null;
  reason: string | null;
  changes: Record<string, unknown>;
  requestId: string | null;
}

export interface AuditFilter {
  organizationId: string | null;
  actor: string | null;
  act: string | null;
  /** Instants; `to` itself is left out. */
  from: string | null;
  to: string | null;
  /** The entry that the page before ended with. */
  before: number | null;
  limit: number;
}

/** Writes down what an operator is about to read. See migrations/functions/record_act.sql. */
export async function recordAct(
  pool: Pool,
  { organizationId, act, actor, reason, requestId }: Act & { organizationId: string | null; act: string },
): Promise<'recorded' | 'not_an_operator' | 'organization_unknown'> {
  const { rows } = await call(() =>
    pool.query('select tollgate.record_act($1, $2, $3, $4, $5) as outcome', [
      ...[actor, organizationId, act, reason, requestId],
    ]),
  );
  return rows[0].outcome;
}

const COLUMNS = `l.id, ${isoInstant('l.created_at')} as at, l.organization_id as "organizationId", l.actor, l.act, l.subject, l.reason,
                 l.changes, l.request_id as "requestId"`;

/** What happened anywhere, newest first, for an operator. See migrations/functions/list_acts.sql. */
export async function listActs(pool: Pool, viewer: string, filter: AuditFilter): Promise<AuditEntry[]> {
  const { organizationId, actor, act, from, to, before, limit } = filter;
  const { rows } = await call(() =>
    pool.query(`select ${COLUMNS} from tollgate.list_acts($1, $2, $3, $4, $5, $6, $7, $8) l order by l.id desc`, [
      ...[viewer, organizationId, actor, act, from, to, before, limit],
    ]),
  );
  return rows;
}

/**
 * What was done to one organization, newest first. To its own people an operator is `operator`, in what they ask for as well:
 * a filter by his id would tell whether it is his.
 */
export function actsOnOrganization(
  pool: Pool,
  { isForOperator, ...filter }: AuditFilter & { organizationId: string; isForOperator: boolean },
): Promise<AuditEntry[]> {
  const actor = isForOperator ? 'l.actor' : `case when left(l.actor, 9) = 'operator:' then 'operator' else l.actor end`;
  return readAs(pool, [filter.organizationId], async (client) => {
    const { rows } = await client.query(
      `select ${COLUMNS}
         from (select l.id, l.created_at, l.organization_id, ${actor} as actor, l.act, l.subject, l.reason, l.changes, l.request_id
                 from tollgate.audit_log l
                where l.organization_id = $1) l
        where ($2::text is null or l.actor = $2)
          and ($3::text is null or l.act = $3)
          and ($4::timestamptz is null or l.created_at >= $4)
          and ($5::timestamptz is null or l.created_at < $5)
          and ($6::bigint is null or l.id < $6)
        order by l.id desc
        limit $7`,
      [filter.organizationId, filter.actor, filter.act, filter.from, filter.to, filter.before, filter.limit],
    );
    return rows;
  });
}
