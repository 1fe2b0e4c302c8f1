import type { Pool } from 'pg';
import { call } from './faults.ts';

/** A balance, as the place where a page of them ended. */
export interface BalanceKey {
  organizationId: string;
  tokenType: string;
}

export interface SealedPage {
  /** Where the next page begins; null: this was the last. */
  next: BalanceKey | null;
  balances: number;
  seals: number;
  entries: number;
  /** Balances whose entries are not all there: left unsealed. `npm run verify` names them. */
  gaps: number;
}

/** Seals what is unsealed of the next `balances` balances. See migrations/functions/seal_ledger.sql; repeating it is safe. */
export async function sealLedger(
  pool: Pool,
  { after, balances }: { after: BalanceKey | null; balances: number },
): Promise<SealedPage> {
  const { rows } = await call(() =>
    pool.query('select * from tollgate.seal_ledger($1, $2, $3)', [
      after?.organizationId ?? null,
      after?.tokenType ?? null,
      balances,
    ]),
  );
  const [{ next_organization: organizationId, next_token_type: tokenType, ...page }] = rows;
  return { next: organizationId === null ? null : { organizationId, tokenType }, ...page };
}
