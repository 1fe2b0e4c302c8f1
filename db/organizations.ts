import type { Pool } from 'pg';
import { call } from './faults.ts';
import { readAs } from './tenant.ts';

export type OrganizationMode = 'live' | 'test';

export interface Organization {
  id: string;
  name: string;
  /** Null where an app's own table has none. */
  plan: string | null;
  mode: OrganizationMode;
  timeZone: string;
  /** Since when its tokens are counted; null: it was there before, and has not used any. */
  createdAt: Date | null;
  suspendedSince: Date | null;
}

/** The first answer to the request that made an organization, as it is stored. */
export interface OrganizationAnswer {
  id: string;
  name: string;
  plan: string;
  mode: OrganizationMode;
  timeZone: string;
  createdAt: string;
}

/** Who does something to an organization. An operator's reason is kept with it; nobody else gives one. */
export interface Act {
  /** `operator:ID`, `user:ID` or `key:ID`. */
  actor: string;
  reason: string | null;
  requestId: string;
}

export type Creation =
  | { outcome: 'created'; isRepeat: boolean; answer: OrganizationAnswer }
  | {
      outcome:
        | 'not_an_operator'
        | 'key_reused'
        | 'plan_unknown'
        | 'time_zone_unknown'
        | 'organization_exists'
        | 'app_table_refused';
    };

/** See migrations/functions/create_organization.sql. Repeating it is safe. */
export async function createOrganization(
  pool: Pool,
  organization: Act & {
    organizationId: string;
    name: string;
    plan: string;
    mode: OrganizationMode;
    timeZone: string;
    idempotency: { key: string; requestHash: Buffer };
  },
): Promise<Creation> {
  const { organizationId, name, plan, mode, timeZone, actor, reason, requestId, idempotency } = organization;
  const { rows } = await call(() =>
    pool.query(
      `select c.outcome, c.is_repeat as "isRepeat", c.answer
         from tollgate.create_organization($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) c`,
      [
        ...[actor, organizationId, name, plan, mode, timeZone, reason],
        ...[idempotency.key, idempotency.requestHash, requestId],
      ],
    ),
  );
  return rows[0];
}

/** See migrations/functions/rename_organization.sql. Repeating it is safe. */
export async function renameOrganization(
  pool: Pool,
  { organizationId, name, actor, reason, requestId }: Act & { organizationId: string; name: string },
): Promise<'renamed' | 'not_an_admin' | 'organization_unknown' | 'app_table_refused'> {
  const { rows } = await call(() =>
    pool.query('select tollgate.rename_organization($1, $2, $3, $4, $5) as outcome', [
      ...[actor, organizationId, name, reason, requestId],
    ]),
  );
  return rows[0].outcome;
}

const COLUMNS = `o.id, o.name, o.plan, o.mode, o.time_zone as "timeZone", o.created_at as "createdAt",
                 o.suspended_since as "suspendedSince"`;

/** Null for one that nobody knows. */
export function findOrganization(pool: Pool, organizationId: string): Promise<Organization | null> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(`select ${COLUMNS} from tollgate.describe_organization($1) o`, [
      organizationId,
    ]);
    return rows[0] ?? null;
  });
}

/** Up to `limit` organizations of all, by id, for an operator. See migrations/functions/list_organizations.sql. */
export async function listOrganizations(
  pool: Pool,
  page: { actor: string; search: string | null; after: string | null; limit: number },
): Promise<Organization[]> {
  const { rows } = await call(() =>
    pool.query(`select ${COLUMNS} from tollgate.list_organizations($1, $2, $3, $4) o order by o.id`, [
      ...[page.actor, page.search, page.after, page.limit],
    ]),
  );
  return rows;
}
