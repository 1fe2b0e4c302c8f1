import { readFile } from 'node:fs/promises';
import type { Pool } from 'pg';

/** See foil.sql. */
export async function createFoilTables(superuser: Pool): Promise<void> {
  await superuser.query(await readFile(new URL('foil.sql', import.meta.url), 'utf8'));
}

/** What must hold of the foil's rows too: a foil that loses updates would be fast for nothing. */
const CHECKS: Record<string, string> = {
  'a balance is what its grants have left': `
    select b.organization_id from foil.balances b
      left join foil.grants g using (organization_id, token_type)
     group by b.organization_id, b.token_type, b.available having b.available <> coalesce(sum(g.remaining), 0)`,
  'held is what the open holds come to': `
    select b.organization_id from foil.balances b
      left join (select h.organization_id, h.token_type, sum(h.amount) as open from foil.holds h where h.state = 'held' group by 1, 2) h
             using (organization_id, token_type)
     where b.held <> coalesce(h.open, 0)`,
  'a hold took what it holds': `
    select h.organization_id, h.id from foil.holds h
      left join (select a.organization_id, a.hold_id, sum(a.amount) as taken from foil.allocations a group by 1, 2) a
             on a.organization_id = h.organization_id and a.hold_id = h.id
     where h.amount is distinct from a.taken`,
  'entries are numbered without gaps and end at the balance': `
    select b.organization_id from foil.balances b
     cross join lateral (select count(*) as entries, coalesce(max(e.entry_number), 0) as last
                           from foil.entries e where e.organization_id = b.organization_id and e.token_type = b.token_type) n
      left join foil.entries e on e.organization_id = b.organization_id and e.token_type = b.token_type and e.entry_number = n.last
     where (n.entries, n.last) <> (b.last_entry, b.last_entry)
        or n.entries > 0 and (e.available_after, e.held_after) is distinct from (b.available, b.held)`,
  'what was charged was used and logged': `
    select o.organization_id, h.captured, e.consumed, u.logged
      from (select distinct b.organization_id from foil.balances b) o
      left join (select h.organization_id, sum(h.captured) as captured from foil.holds h group by 1) h using (organization_id)
      left join (select e.organization_id, sum(e.amount) as consumed from foil.entries e where e.to_account = 'consumed' group by 1) e using (organization_id)
      left join (select u.organization_id, sum(u.tokens_deducted) as logged from foil.usage_log u group by 1) u using (organization_id)
     where coalesce(h.captured, 0) <> coalesce(e.consumed, 0) or coalesce(h.captured, 0) <> coalesce(u.logged, 0)`,
};

/** The sentences that do not hold. */
export async function brokenFoilChecks(superuser: Pick<Pool, 'query'>): Promise<string[]> {
  const broken: string[] = [];
  for (const [sentence, query] of Object.entries(CHECKS)) {
    // Materialized: with the limit on the query itself it is planned for a first row that is not there, by nested loops.
    const { rows } = await superuser.query(`with broken as materialized (${query}) select * from broken limit 1`);
    if (rows.length > 0) broken.push(`foil: ${sentence}: ${JSON.stringify(rows[0])}`);
  }
  return broken;
}
