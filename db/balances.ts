import type { Pool } from 'pg';
import { call } from './faults.ts';
import { isoInstant } from './isoInstant.ts';
import { readAs } from './tenant.ts';

/**
 * Books what time has done to the organization's balances where that is not booked yet; nearly always there is nothing.
 * Reads of several rows come after it. See migrations/functions/settle_due.sql; repeating it is safe.
 */
export async function settleDue(
  pool: Pool,
  { organizationId, principal }: { organizationId: string; principal: string },
): Promise<'settled' | 'not_a_member' | 'organization_unknown'> {
  const { rows } = await call(() =>
    pool.query('select tollgate.settle_due($1, $2) as outcome', [organizationId, principal]),
  );
  return rows[0].outcome;
}

/** A grant with tokens left. Instants are ISO 8601. */
export interface LiveGrant {
  id: number;
  source: string;
  priority: number;
  isPaid: boolean;
  amount: number;
  remaining: number;
  expiresAt: string | null;
  createdAt: string;
}

/** Amounts are whole tokens. `used` and `allocated` are those of the period that runs until `refreshDate`. */
export interface Balance {
  tokenType: string;
  available: number;
  held: number;
  owed: number;
  allocated: number;
  used: number;
  refreshDate: Date;
  /** In the order in which they are used up. What is on hold is in none of them. */
  grants: LiveGrant[];
}

/** The balances of an organization, by name of the token type, in one snapshot. Exact after `settleDue`. */
export async function listBalances(pool: Pool, organizationId: string): Promise<Balance[]> {
  const { rows } = await readAs(pool, [organizationId], (client) =>
    client.query(
      `select b.token_type as "tokenType", b.available, b.held, b.owed, b.allocated, b.used_in_period as used,
              b.refresh_date as "refreshDate", coalesce(g.grants, '[]') as grants
         from tollgate.balances b
         left join lateral (
           select jsonb_agg(jsonb_build_object(
                    'id', g.id, 'source', g.source, 'priority', g.priority, 'isPaid', g.is_paid, 'amount', g.amount,
                    'remaining', g.remaining, 'expiresAt', ${isoInstant('g.expires_at')}, 'createdAt', ${isoInstant('g.created_at')})
                    order by u.position) as grants
             from tollgate.live_grants(array[b.organization_id], array[b.token_type], array[b.burn_order]) l
            cross join unnest(l.grant_ids) with ordinality as u (id, position)
             join tollgate.grants g on g.organization_id = b.organization_id and g.id = u.id) g on true
        where b.organization_id = $1
        order by b.token_type`,
      [organizationId],
    ),
  );
  return rows;
}

export interface PastBalance {
  tokenType: string;
  available: number;
  held: number;
  owed: number;
}

/** What the balances were at an instant (ISO 8601). See migrations/functions/balance_as_of.sql. */
export async function listBalancesAsOf(
  pool: Pool,
  organizationId: string,
  at: string,
): Promise<PastBalance[] | 'is_ahead'> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows: ahead } = await client.query('select $1::timestamptz > clock_timestamp() as is_ahead', [at]);
    if (ahead[0].is_ahead) return 'is_ahead';
    const { rows } = await client.query(
      `select b.token_type as "tokenType", s.available, s.held, s.owed
         from tollgate.balances b
        cross join lateral tollgate.balance_as_of(b.organization_id, b.token_type, $2) s
        where b.organization_id = $1
        order by b.token_type`,
      [organizationId, at],
    );
    return rows;
  });
}
