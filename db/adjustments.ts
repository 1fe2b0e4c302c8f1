import type { Pool } from 'pg';
import type { TokenType } from '../domain/catalog.ts';
import { call } from './faults.ts';
import type { Act } from './organizations.ts';
import { readAs } from './tenant.ts';

/** A balance raised (or lowered: a negative amount) by hand. `reverses`: the one that it undoes. */
export interface Adjustment {
  id: number;
  tokenType: string;
  amount: number;
  reason: string;
  actor: string;
  reverses: number | null;
  createdAt: Date;
}

export type AdjustmentOutcome =
  | { outcome: 'adjusted'; isRepeat: boolean; adjustmentId: number; available: number; createdAt: Date }
  | { outcome: 'tokens_insufficient'; available: number }
  | {
      outcome:
        | 'not_an_operator'
        | 'organization_unknown'
        | 'token_type_unknown'
        | 'amount_invalid'
        | 'reason_missing'
        | 'key_reused';
    };

/** See migrations/functions/adjust_as_operator.sql. `why` is told to the organization. Repeating it under its key is safe. */
export async function adjustBalance(
  pool: Pool,
  adjustment: Act & { organizationId: string; tokenType: TokenType; amount: number; why: string; key: string },
): Promise<AdjustmentOutcome> {
  const { actor, organizationId, tokenType, amount, why, reason, key, requestId } = adjustment;
  const { rows } = await call(() =>
    pool.query(
      `select a.outcome, a.is_repeat as "isRepeat", a.adjustment as "adjustmentId", a.available, a.created_at as "createdAt"
         from tollgate.adjust_as_operator($1, $2, $3, $4, $5, $6, $7, $8) a`,
      [actor, organizationId, tokenType, amount, why, reason, key, requestId],
    ),
  );
  return rows[0];
}

export type ReversalOutcome =
  | { outcome: 'reversed'; isRepeat: boolean; reversal: Adjustment }
  /** `reversal` is the adjustment that was to be undone. */
  | { outcome: 'tokens_insufficient'; available: number; reversal: Adjustment }
  | { outcome: 'not_an_operator' | 'organization_unknown' | 'adjustment_unknown' | 'reason_missing' };

/** See migrations/functions/reverse_as_operator.sql. Repeating it is safe. */
export async function reverseAdjustment(
  pool: Pool,
  { actor, organizationId, adjustmentId, reason, requestId }: Act & { organizationId: string; adjustmentId: number },
): Promise<ReversalOutcome> {
  const { rows } = await call(() =>
    pool.query(
      `select r.outcome, r.is_repeat as "isRepeat", r.available, ${REVERSAL_COLUMNS}
         from tollgate.reverse_as_operator($1, $2, $3, $4, $5) r`,
      [actor, organizationId, adjustmentId, reason, requestId],
    ),
  );
  const { outcome, isRepeat, available, ...reversal } = rows[0];
  return { outcome, isRepeat, available, reversal };
}

const REVERSAL_COLUMNS = `(r.reversal).id, (r.reversal).token_type as "tokenType", (r.reversal).amount, (r.reversal).reason,
                          (r.reversal).actor, (r.reversal).reverses, (r.reversal).created_at as "createdAt"`;
const COLUMNS = `a.id, a.token_type as "tokenType", a.amount, a.reason, a.actor, a.reverses, a.created_at as "createdAt"`;

/** Up to `limit` adjustments of an organization, newest first, before `before`; each with the one that undid it, if any. */
export function listAdjustments(
  pool: Pool,
  organizationId: string,
  { before, limit }: { before: number | null; limit: number },
): Promise<(Adjustment & { reversedBy: number | null })[]> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      `select ${COLUMNS}, r.id as "reversedBy"
         from tollgate.adjustments a
         left join tollgate.adjustments r on r.organization_id = a.organization_id and r.reverses = a.id
        where a.organization_id = $1 and ($2::bigint is null or a.id < $2)
        order by a.id desc
        limit $3`,
      [organizationId, before, limit],
    );
    return rows;
  });
}
