import type { Pool } from 'pg';
import type { Feature, TokenType } from '../domain/catalog.ts';
import type { QuoteRefusal } from '../domain/refusals.ts';
import { settleDue } from './balances.ts';
import { readAs } from './tenant.ts';

/** A hold that is not placed. `amount` in tokens. */
export interface QuoteRequest {
  feature: Feature;
  amount: number;
}

/** What the hold would answer. Amounts are whole tokens of `tokenType`; each is null where the refusal came before it was known. */
export interface Quote {
  outcome: 'held' | QuoteRefusal;
  tokenType: TokenType | null;
  available: number | null;
  /** What it would burn, in order. Instants are ISO 8601. */
  grants: { id: number; source: string; isPaid: boolean; expiresAt: string | null; tokens: number }[];
}

/**
 * What holds of an organization would answer now, each as if it were alone, row by row in the order asked. Reads, in a
 * transaction that may do nothing else; see migrations/functions/quote_holds.sql. Only where time has done something that
 * nobody has booked, that is booked first, as any call that looks does.
 */
export async function quoteHolds(
  pool: Pool,
  { organizationId, principal }: { organizationId: string; principal: string },
  quotes: readonly QuoteRequest[],
): Promise<Quote[]> {
  for (let attempt = 1; ; attempt++) {
    const { rows } = await readAs(pool, [organizationId], (client) =>
      client.query<Omit<Quote, 'outcome'> & { outcome: Quote['outcome'] | 'not_settled' }>({
        name: 'quote_holds',
        text: `select q.outcome, q.token_type as "tokenType", q.available, q.grants
                 from tollgate.quote_holds($1, $2, $3, $4) q
                order by q.ordinal`,
        values: [
          quotes.map(() => principal),
          quotes.map(() => organizationId),
          quotes.map(({ feature }) => feature),
          quotes.map(({ amount }) => amount),
        ],
      }),
    );
    if (rows.every(isSettled)) return rows;
    // Another second of a busy balance may be over by the time that the rows are read.
    if (attempt === MOST_ATTEMPTS) throw new Error(`quote_holds finds the balances not settled ${attempt} times`);
    await settleDue(pool, { organizationId, principal });
  }
}

const MOST_ATTEMPTS = 10;

function isSettled<Row extends { outcome: string }>(row: Row): row is Row & { outcome: Quote['outcome'] } {
  return row.outcome !== 'not_settled';
}
