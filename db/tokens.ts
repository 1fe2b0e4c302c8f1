import type { Pool } from 'pg';
import type { TokenType } from '../domain/catalog.ts';
import type { CheckRefusal, DeductionRefusal } from '../domain/refusals.ts';
import { call } from './faults.ts';

/** Amounts are whole tokens of `tokenType`; each is null where the refusal came before it was known. */
export interface Check {
  outcome: 'sufficient' | CheckRefusal;
  tokenType: TokenType | null;
  /** What the feature costs. */
  tokens: number | null;
  available: number | null;
}

/** Whether an organization can pay for a feature. Any string may stand for each: what does not exist is refused. */
export interface CheckRequest {
  organizationId: string;
  principal: string;
  feature: string;
}

/** What organizations can pay for at this moment, row by row in the order asked. See migrations/functions/check_tokens.sql. */
export async function checkTokens(pool: Pool, checks: readonly CheckRequest[]): Promise<Check[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'check_tokens',
      text: `select c.outcome, c.token_type as "tokenType", c.tokens, c.available
               from tollgate.check_tokens($1, $2, $3) c
              order by c.ordinal`,
      values: [
        checks.map((check) => check.organizationId),
        checks.map((check) => check.principal),
        checks.map((check) => check.feature),
      ],
    }),
  );
  return rows;
}

export interface Deduction {
  outcome: 'deducted' | DeductionRefusal;
  isRepeat: boolean;
  tokenType: TokenType | null;
  tokens: number | null;
  /** What is left of the token type, after the charge where there was one. */
  available: number | null;
}

/**
 * Charges what a feature costs, in one step. See migrations/functions/deduct_tokens.sql. The caller makes the hold's id.
 * Throws DatabaseFault; repeating it under the same idempotency key, or the same hold id, is safe.
 */
export async function deductTokens(
  pool: Pool,
  deduction: {
    organizationId: string;
    principal: string;
    holdId: string;
    feature: string;
    metadata: Readonly<Record<string, unknown>>;
    idempotency: { key: string; requestHash: Buffer } | null;
  },
): Promise<Deduction> {
  const { rows } = await call(() =>
    pool.query(
      `select d.outcome, d.is_repeat as "isRepeat", d.token_type as "tokenType", d.tokens, d.available
         from tollgate.deduct_tokens($1, $2, $3, $4, $5, $6, $7) d`,
      [
        deduction.organizationId,
        deduction.principal,
        deduction.holdId,
        deduction.feature,
        JSON.stringify(deduction.metadata),
        deduction.idempotency?.key ?? null,
        deduction.idempotency?.requestHash ?? null,
      ],
    ),
  );
  return rows[0];
}

/** One token type of an organization, in whole tokens. `used` and `allocated` are those of the period that runs. */
export interface TokenTypeStats {
  tokenType: TokenType;
  available: number;
  held: number;
  used: number;
  allocated: number;
  refreshDate: Date;
}

/** Every token type of an organization, exact by time, in one query. See migrations/functions/token_stats.sql. */
export async function tokenStats(
  pool: Pool,
  { organizationId, principal }: { organizationId: string; principal: string },
): Promise<TokenTypeStats[] | 'not_a_member' | 'organization_unknown'> {
  const { rows } = await call(() =>
    pool.query(
      `select s.outcome, s.token_type as "tokenType", s.available, s.held, s.used, s.allocated,
              s.refresh_date as "refreshDate"
         from tollgate.token_stats($1, $2) s`,
      [organizationId, principal],
    ),
  );
  const [first] = rows;
  if (first.outcome !== 'found') return first.outcome;
  return rows.map(({ outcome: _, ...stats }) => stats);
}
