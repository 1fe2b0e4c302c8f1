import type { Pool } from 'pg';

/** Everything that was done with a hold. */
export interface HoldFacts {
  state: string;
  /** Set aside in all, in so many movements. */
  amount: number;
  holds: number;
  captured: number;
  returned: number;
  /** Tokens by charge id. */
  charges: Record<string, number>;
  refunds: Record<string, number>;
}

/** By organization and hold id, from the holds, the ledger, the usage log and the refunds. A thing booked twice counts twice. */
export async function holdFacts(superuser: Pool): Promise<Map<string, HoldFacts>> {
  const { rows } = await superuser.query<{ key: string } & HoldFacts>(
    `with entries as (
       select e.organization_id, e.hold_id,
              count(*) filter (where e.kind = 'hold') as holds,
              sum(e.amount) filter (where e.kind = 'hold') as amount,
              sum(e.amount) filter (where e.kind = 'capture') as captured,
              sum(e.amount) filter (where e.kind = 'release') as returned,
              sum(e.amount) filter (where e.kind = 'refund') as refunded
         from tollgate.ledger_entries e where e.hold_id is not null group by 1, 2
     ), charges as (
       select c.organization_id, c.hold_id, jsonb_object_agg(c.charge_id, c.tokens) as tokens
         from (select l.organization_id, substring(l.charge_id from '^(.+)[.]') as hold_id, l.charge_id, sum(l.tokens_deducted) as tokens
                 from public.ai_token_usage_log l where l.tokens_deducted > 0 group by 1, 2, 3) c
        group by 1, 2
     ), refunds as (
       select r.organization_id, r.hold_id, jsonb_object_agg(r.charge_id, r.tokens) as tokens, sum(r.tokens) as refunded
         from (select f.organization_id, f.hold_id, f.hold_id || '.' || f.charge_number as charge_id, sum(f.amount) as tokens
                 from tollgate.refunds f group by 1, 2, 3) r
        group by 1, 2
     )
     select h.organization_id || '/' || h.id as key, h.state,
            -- Where two tables tell the same and differ, there is no fact.
            case when e.amount = h.amount then h.amount end as amount,
            e.holds,
            case when coalesce(e.captured, 0) = h.captured then h.captured end as captured,
            case when coalesce(e.refunded, 0) = coalesce(r.refunded, 0) then coalesce(e.returned, 0)::bigint end as returned,
            coalesce(c.tokens, '{}') as charges,
            coalesce(r.tokens, '{}') as refunds
       from tollgate.holds h
       left join entries e on e.organization_id = h.organization_id and e.hold_id = h.id
       left join charges c on c.organization_id = h.organization_id and c.hold_id = h.id
       left join refunds r on r.organization_id = h.organization_id and r.hold_id = h.id`,
  );
  return new Map(rows.map(({ key, ...facts }) => [key, facts]));
}

export interface Difference {
  hold: string;
  acknowledged: HoldFacts | null;
  durable: HoldFacts | null;
}

/** Where the two do not say the same. */
export function differences(acknowledged: Map<string, HoldFacts>, durable: Map<string, HoldFacts>): Difference[] {
  const holds = new Set([...acknowledged.keys(), ...durable.keys()]);
  return [...holds].flatMap((hold) => {
    const [told, found] = [acknowledged.get(hold) ?? null, durable.get(hold) ?? null];
    return asText(told) === asText(found) ? [] : [{ hold, acknowledged: told, durable: found }];
  });
}

/** Equal facts as equal text, in whatever order their names came. */
function asText(facts: HoldFacts | null): string {
  return JSON.stringify(facts, (_, value) =>
    value !== null && typeof value === 'object'
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
