import type { Pool, PoolClient } from 'pg';
import { isoInstant } from './isoInstant.ts';
import { readAs } from './tenant.ts';

/** One entry: `amount` went `from` an account `to` another. Instants are ISO 8601 with microseconds. */
export interface LedgerEntry {
  organizationId: string;
  tokenType: string;
  entryNumber: number;
  kind: string;
  from: string;
  to: string;
  amount: number;
  availableAfter: number;
  heldAfter: number;
  owedAfter: number;
  holdId: string | null;
  grantId: number | null;
  actor: string;
  effectiveAt: string;
  createdAt: string;
  /** The seal that covers it; null: not sealed yet. */
  sealNumber: number | null;
}

/** How far a balance's ledger is sealed, and how far it goes. `hash` is in hex; of nothing sealed it is all zeros. */
export interface LedgerHead {
  organizationId: string;
  tokenType: string;
  sealNumber: number;
  /** The last sealed entry. */
  lastEntry: number;
  hash: string;
  /** The last entry that there is. */
  lastBooked: number;
}

/** The heads of an organization, by name of the token type; of one type where it is named. */
export function ledgerHeads(pool: Pool, organizationId: string, tokenType?: string): Promise<LedgerHead[]> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      `select b.organization_id as "organizationId", b.token_type as "tokenType", coalesce(s.seal_number, 0) as "sealNumber",
              coalesce(s.last_entry, 0) as "lastEntry", coalesce(encode(s.hash, 'hex'), repeat('00', 32)) as hash,
              b.last_entry as "lastBooked"
         from tollgate.balances b
         left join lateral (
           select l.seal_number, l.last_entry, l.hash
             from tollgate.ledger_seals l
            where l.organization_id = b.organization_id and l.token_type = b.token_type
            order by l.first_entry desc
            limit 1) s on true
        where b.organization_id = $1 and ($2::text is null or b.token_type = $2)
        order by b.token_type`,
      [organizationId, tokenType ?? null],
    );
    return rows;
  });
}

export interface EntryRange {
  organizationId: string;
  tokenType: string;
  from: number;
  to: number;
}

/** The entries `from` to `to`, both included, in order. A short snapshot of its own: what is booked never changes. */
export function entriesBetween(pool: Pool, range: EntryRange): Promise<LedgerEntry[]> {
  return readAs(pool, [range.organizationId], (client) => readEntries(client, range));
}

export interface EntryPage {
  organizationId: string;
  tokenType: string;
  limit: number;
  order: 'newest' | 'oldest';
  /** The entry that the page before ended with; null: the first page. */
  after: number | null;
}

/** Up to `limit` entries in this order, and whether there are more behind them. Pages meet without gaps or repeats. */
export function pageOfEntries(
  pool: Pool,
  { organizationId, tokenType, limit, order, after }: EntryPage,
): Promise<{ entries: LedgerEntry[]; hasMore: boolean }> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      'select b.last_entry as last from tollgate.balances b where b.organization_id = $1 and b.token_type = $2',
      [organizationId, tokenType],
    );
    const last: number = rows[0]?.last ?? 0;
    const from = order === 'oldest' ? (after ?? 0) + 1 : Math.max(1, (after ?? last + 1) - limit);
    const to = order === 'oldest' ? Math.min(last, from + limit - 1) : (after ?? last + 1) - 1;
    const entries = from > to ? [] : await readEntries(client, { organizationId, tokenType, from, to });
    return order === 'oldest'
      ? { entries, hasMore: to < last }
      : { entries: entries.toReversed(), hasMore: to >= from && from > 1 };
  });
}

async function readEntries(client: PoolClient, { organizationId, tokenType, from, to }: EntryRange) {
  const { rows } = await client.query<LedgerEntry>(
    `select e.organization_id as "organizationId", e.token_type as "tokenType", e.entry_number as "entryNumber", e.kind,
            e.from_account as "from", e.to_account as "to", e.amount, e.available_after as "availableAfter",
            e.held_after as "heldAfter", e.owed_after as "owedAfter", e.hold_id as "holdId", e.grant_id as "grantId", e.actor,
            ${isoInstant('e.effective_at')} as "effectiveAt", ${isoInstant('e.created_at')} as "createdAt",
            s.seal_number as "sealNumber"
       from tollgate.entries_between($1, $2, $3, $4) e
       left join lateral (
         select case when l.last_entry >= e.entry_number then l.seal_number end as seal_number
           from tollgate.ledger_seals l
          where l.organization_id = $1 and l.token_type = $2 and l.first_entry <= e.entry_number
          order by l.first_entry desc
          limit 1) s on true
      order by e.entry_number`,
    [organizationId, tokenType, from, to],
  );
  return rows;
}
