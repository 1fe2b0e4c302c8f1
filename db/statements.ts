import type { Pool } from 'pg';
import type { EntryRange } from './ledger.ts';
import { readAs } from './tenant.ts';

/**
 * What a month did to one token type, in whole tokens. Opening and closing are available + held - owed: tokens on hold
 * count until they are used, and a debt counts against them. Always:
 * opening + granted + bought - used + refunded - expired + adjusted = closing.
 */
export interface Statement {
  tokenType: string;
  opening: number;
  granted: number;
  bought: number;
  /** Charged: out of holds, or as a debt. */
  used: number;
  refunded: number;
  expired: number;
  /** Up less down. */
  adjusted: number;
  closing: number;
  /** The part of `used` that the balance did not cover. */
  debtTakenUp: number;
  /** What of granted and bought went straight into paying debts. It moves no total: the tokens and the debt end together. */
  debtPaid: number;
  firstEntry: number | null;
  lastEntry: number | null;
}

export interface Month {
  timeZone: string;
  startsAt: Date;
  endsAt: Date;
  /** Over, so that it will never read otherwise. */
  isOver: boolean;
  statements: Statement[];
}

/** Short enough that no statement of the database lasts, whatever a month holds. */
const ENTRIES_PER_READ = 20_000;

/**
 * The statements of a month (YYYY-MM, in the organization's own zone), by name of the token type. Exact after `settleDue`.
 * 'is_ahead': the month has not begun.
 */
export async function monthlyStatements(
  pool: Pool,
  { organizationId, month, tokenType }: { organizationId: string; month: string; tokenType?: string | undefined },
): Promise<Month | 'is_ahead'> {
  const { rows: ranges } = await readAs(pool, [organizationId], (client) =>
    client.query(
      `select b.token_type as "tokenType", r.time_zone as "timeZone", r.starts_at as "startsAt", r.ends_at as "endsAt",
              r.is_over as "isOver", r.is_ahead as "isAhead", r.first_entry as "firstEntry", r.last_entry as "lastEntry",
              r.opening, r.closing
         from tollgate.balances b
        cross join lateral tollgate.statement_range(b.organization_id, b.token_type, ($2 || '-01')::date) r
        where b.organization_id = $1 and ($3::text is null or b.token_type = $3)
        order by b.token_type`,
      [organizationId, month, tokenType ?? null],
    ),
  );
  const [first] = ranges;
  if (first === undefined) throw new Error('no balance of that type: its month was asked for before settleDue');
  if (first.isAhead) return 'is_ahead';

  const statements: Statement[] = [];
  for (const range of ranges) {
    const sums = { granted: 0, bought: 0, used: 0, refunded: 0, expired: 0, adjusted: 0, debtTakenUp: 0, debtPaid: 0 };
    // Booked entries never change, so pages in snapshots of their own add up to the same as one long one.
    for (let from = range.firstEntry; from <= range.lastEntry; from += ENTRIES_PER_READ) {
      const to = Math.min(range.lastEntry, from + ENTRIES_PER_READ - 1);
      const page = await sumOfEntries(pool, { organizationId, tokenType: range.tokenType, from, to });
      for (const part of PARTS) sums[part] += page[part];
    }
    const { tokenType, opening, closing, firstEntry, lastEntry } = range;
    const { granted, bought, used, refunded, expired, adjusted, debtTakenUp, debtPaid } = sums;
    if (opening + granted + bought - used + refunded - expired + adjusted !== closing) {
      throw new Error(`a statement does not add up: ${tokenType}, entries ${firstEntry} to ${lastEntry}`);
    }
    const isEmpty = firstEntry > lastEntry;
    statements.push({
      ...{ tokenType, opening, granted, bought, used, refunded, expired, adjusted, closing, debtTakenUp, debtPaid },
      firstEntry: isEmpty ? null : firstEntry,
      lastEntry: isEmpty ? null : lastEntry,
    });
  }
  const { timeZone, startsAt, endsAt, isOver } = first;
  return { timeZone, startsAt, endsAt, isOver, statements };
}

/** By account, not by kind: whatever crosses the border of the balance is in exactly one part, or the sum is off. */
const AMOUNTS = {
  granted: `case when e.from_account = 'outside' and g.source is distinct from 'purchase' then e.amount end`,
  bought: `case when e.from_account = 'outside' and g.source = 'purchase' then e.amount end`,
  used: `case when e.to_account = 'consumed' then e.amount end`,
  refunded: `case when e.from_account = 'consumed' then e.amount end`,
  expired: `case when e.to_account = 'expired' then e.amount end`,
  adjusted: `case 'adjusted' when e.from_account then e.amount when e.to_account then - e.amount end`,
  debtTakenUp: `case when e.from_account = 'debt' then e.amount end`,
  debtPaid: `case when e.to_account = 'debt' then e.amount end`,
} as const;
const PARTS = Object.keys(AMOUNTS) as (keyof typeof AMOUNTS)[];

async function sumOfEntries(
  pool: Pool,
  { organizationId, tokenType, from, to }: EntryRange,
): Promise<Record<keyof typeof AMOUNTS, number>> {
  const { rows } = await readAs(pool, [organizationId], (client) =>
    client.query(
      `select ${PARTS.map((part) => `coalesce(sum(${AMOUNTS[part]}), 0)::bigint as "${part}"`).join(', ')}
         from tollgate.entries_between($1, $2, $3, $4) e
         left join lateral (
           select l.source from tollgate.grants l
            where e.from_account = 'outside' and l.organization_id = $1 and l.id = e.grant_id) g on true`,
      [organizationId, tokenType, from, to],
    ),
  );
  return rows[0];
}
