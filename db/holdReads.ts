import type { Pool } from 'pg';
import type { Feature } from '../domain/catalog.ts';
import { isoInstant } from './isoInstant.ts';
import { readAs } from './tenant.ts';

export type HoldState = 'held' | 'captured' | 'released' | 'lapsed';

/** A hold as it stands now, whether what time has done to it is booked or not. Instants are ISO 8601 with microseconds. */
export interface StoredHold {
  id: string;
  state: HoldState;
  feature: string;
  tokenType: string;
  /** All that it ever set aside, growth included. */
  tokens: number;
  /** The sum of its charges. */
  captured: number;
  open: number;
  /** The job that it belongs to; null: an app's own. */
  jobId: string | null;
  createdAt: string;
  expiresAt: string;
  endedAt: string | null;
  charges: { chargeId: string; tokens: number; refunded: number }[];
}

/** One hold of an organization; null: there is none. */
export function findHold(pool: Pool, organizationId: string, holdId: string): Promise<StoredHold | null> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      holdsIn('(select $2::text as hold_id, 1 as ordinal, clock_timestamp() as looked_at)'),
      [organizationId, holdId],
    );
    return rows[0] ?? null;
  });
}

/** Where a page of holds ended: `expiresAt` with its microseconds. Without an id: above all of that instant. */
export interface HoldPosition {
  expiresAt: string;
  id: string;
}

/**
 * How many holds of a token type are looked at for a page that is narrowed: some 10 ms. One that few holds belong to would
 * otherwise be looked for among all of them.
 */
const MOST_WALKED = 5_000;

/** A page of an organization's holds. `after`: where the next one begins; null: this was the last. */
export interface HoldPage {
  holds: StoredHold[];
  after: HoldPosition | null;
}

/** Holds of an organization, those that expire last first. See migrations/functions/list_holds.sql. */
export function listHolds(
  pool: Pool,
  organizationId: string,
  page: { limit: number; after: HoldPosition | null; state?: HoldState; feature?: Feature; mostWalked?: number },
): Promise<HoldPage> {
  return readAs(pool, [organizationId], async (client) => {
    // One statement, so that a hold is shown as it was listed. One more than asked for tells whether there is a next page.
    const { rows } = await client.query<{ found: StoredHold[]; walkedTo: string | null }>(
      `with listed as materialized (select * from tollgate.list_holds($1, $2, $3, $4, $5, $6, $7))
       select (select coalesce(json_agg(f), '[]') from (${holdsIn('listed')}) f) as found,
              (select ${isoInstant('l.expires_at')} from listed l where l.hold_id is null) as "walkedTo"`,
      [
        organizationId,
        page.state ?? null,
        page.feature ?? null,
        page.after?.expiresAt ?? null,
        page.after?.id ?? null,
        page.limit + 1,
        page.mostWalked ?? MOST_WALKED,
      ],
    );
    const { found, walkedTo } = rows[0]!;
    const holds = found.slice(0, page.limit);
    if (found.length > page.limit) return { holds, after: holds.at(-1)! };
    return { holds, after: walkedTo === null ? null : { expiresAt: walkedTo, id: '' } };
  });
}

/** Reads the holds named by a source of (ordinal, hold_id, looked_at) of the organization $1. */
function holdsIn(source: string): string {
  return `
    select h.id, h.feature, h.token_type as "tokenType", h.amount as tokens, h.captured, h.job_id as "jobId",
           e.state, case e.state when 'held' then h.amount - h.captured else 0 end as open,
           ${isoInstant('h.created_at')} as "createdAt", ${isoInstant('h.expires_at')} as "expiresAt",
           ${isoInstant("case when e.state = 'lapsed' then h.expires_at else h.ended_at end")} as "endedAt",
           coalesce(c.charges, '[]') as charges
      from ${source} w
      join tollgate.holds h on h.organization_id = $1 and h.id = w.hold_id
     cross join lateral (select case when h.state = 'held' and h.expires_at <= w.looked_at then 'lapsed' else h.state end as state) e
      left join lateral (
        select jsonb_agg(jsonb_build_object('chargeId', h.id || '.' || n.number, 'tokens', n.amount, 'refunded', coalesce(r.refunded, 0))
                         order by n.number) as charges
          from tollgate.charges n
          left join tollgate.refunded_charges r
            on r.organization_id = n.organization_id and r.hold_id = n.hold_id and r.charge_number = n.number
         where n.organization_id = h.organization_id and n.hold_id = h.id) c on true
     order by w.ordinal`;
}
