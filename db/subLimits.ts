import type { Pool } from 'pg';
import type { TokenType } from '../domain/catalog.ts';
import type { LimitRefusal } from '../domain/refusals.ts';
import { call } from './faults.ts';
import { isoInstant } from './isoInstant.ts';
import type { Act } from './organizations.ts';

/** Which limit of an organization. `subject`: 'user:ID', 'key:ID', a feature, or '*' for each of them by itself. */
export interface WhichLimit {
  tokenType: TokenType;
  scope: 'user' | 'key' | 'feature';
  subject: string;
  every: 'day' | 'period';
}

/** `used`: in the window that counts now, by subject, the most used first. */
export interface SubLimit extends WhichLimit {
  tokens: number;
  windowStartsAt: string;
  used: { subject: string; tokens: number }[];
}

/** An admin sets a limit, or lifts it with null. See migrations/functions/change_sub_limit.sql. */
export async function changeSubLimit(
  pool: Pool,
  { actor, reason, requestId }: Act,
  organizationId: string,
  { tokenType, scope, subject, every }: WhichLimit,
  tokens: number | null,
): Promise<'set' | 'lifted' | LimitRefusal> {
  const { rows } = await call(() =>
    pool.query('select tollgate.change_sub_limit($1, $2, $3, $4, $5, $6, $7, $8, $9) as outcome', [
      ...[actor, organizationId, tokenType, scope, subject, every, tokens, reason, requestId],
    ]),
  );
  return rows[0].outcome;
}

/** All limits of an organization, with what is used of each now. See migrations/functions/list_sub_limits.sql. */
export async function listSubLimits(pool: Pool, organizationId: string): Promise<SubLimit[]> {
  const { rows } = await call(() =>
    pool.query(
      `select l.token_type as "tokenType", l.scope, l.subject, l.every, l.tokens, ${isoInstant('l.window_start')} as "windowStartsAt", l.used
         from tollgate.list_sub_limits($1, $2) l`,
      [organizationId, MOST_SUBJECTS],
    ),
  );
  return rows;
}

/** Of a limit for '*', so many of those that it counts are told. */
const MOST_SUBJECTS = 100;
