import type { Pool } from 'pg';
import type { TokenType } from '../../domain/catalog.ts';

export interface GrantRequest {
  tokenType?: TokenType;
  source?: 'purchase' | 'promotion' | 'reward';
  amount: number;
  priority?: number;
  isPaid?: boolean;
  /** An interval from now; null: never. */
  expiresIn?: string | null;
}

/** Books a grant as a purchase or a promotion will, and answers its id. Lead tokens that never expire, unless said. */
export async function addGrant(superuser: Pool, organizationId: string, grant: GrantRequest): Promise<number> {
  const {
    tokenType = 'lead_generation',
    source = 'promotion',
    priority = 100,
    isPaid = false,
    expiresIn = null,
  } = grant;
  const { rows } = await superuser.query(
    `select tollgate.add_grant($1, $2, $3, $4, $5, $6, null, locked.now + $7::interval, 'test', locked.now) as id
       from (select tollgate.lock_balances(array[$1], array[$2]) as now) locked`,
    [organizationId, tokenType, source, grant.amount, priority, isPaid, expiresIn],
  );
  return rows[0].id;
}

export interface GrantRow {
  id: number;
  source: string;
  amount: number;
  remaining: number;
  expired: number;
  periodStart: Date | null;
  expiresAt: Date | null;
}

/** The grants of a balance, oldest first. */
export async function grantsOf(
  superuser: Pool,
  organizationId: string,
  tokenType: TokenType = 'lead_generation',
): Promise<GrantRow[]> {
  const { rows } = await superuser.query(
    `select g.id, g.source, g.amount, g.remaining, g.expired, g.period_start as "periodStart", g.expires_at as "expiresAt"
       from tollgate.grants g
      where g.organization_id = $1 and g.token_type = $2
      order by g.id`,
    [organizationId, tokenType],
  );
  return rows;
}
