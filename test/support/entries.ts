import type { Pool } from 'pg';

/**
 * Appends so many entries to lead_generation, an even number, in one transaction: each token that is set aside is given
 * back by the next entry, so that the balance stays sound. By hand, where a test needs many.
 */
export async function appendEntries(
  superuser: Pool,
  organizationId: string,
  entries: number,
  actor = 'test',
): Promise<void> {
  if (entries % 2 !== 0) throw new Error('an odd number would leave a token on hold');
  await superuser.query(
    `select tollgate.post_movements(array(
       select jsonb_populate_record(null::tollgate.movement, jsonb_build_object(
                'organization_id', $1::text, 'token_type', 'lead_generation', 'amount', 1, 'actor', $3::text, 'effective_at', locked.now)
              || case when n % 2 = 1
                   then '{"kind": "hold", "from_account": "available", "to_account": "held"}'::jsonb
                   else '{"kind": "release", "from_account": "held", "to_account": "available"}'::jsonb end)
         from (select tollgate.lock_balances(array[$1], array['lead_generation']) as now) locked, generate_series(1, $2::int) n))`,
    [organizationId, entries, actor],
  );
}
