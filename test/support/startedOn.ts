import type { Pool } from 'pg';

/**
 * Makes a new organization one that was created on `anchor` in a zone, and that nobody has looked at since: its first
 * period began then, and every later one is still to be made up.
 */
export async function startedOn(
  superuser: Pool,
  organizationId: string,
  anchor: string,
  timeZone = 'UTC',
): Promise<void> {
  const client = await superuser.connect();
  try {
    await client.query('begin');
    await client.query("set local session_replication_role = 'replica'");
    await client.query('update tollgate.billing_cycles set anchor = $2, time_zone = $3 where organization_id = $1', [
      organizationId,
      anchor,
      timeZone,
    ]);
    for (const change of [
      `tollgate.balances set period_start = $2, settled_through = $2,
              refresh_date = tollgate.next_boundary($2, $3, $2), next_change_at = tollgate.next_boundary($2, $3, $2)`,
      'tollgate.grants set period_start = $2, created_at = $2, expires_at = tollgate.next_boundary($2, $3, $2)',
    ]) {
      await client.query(`update ${change} where organization_id = $1`, [organizationId, anchor, timeZone]);
    }
    await client.query('update tollgate.ledger_blocks set effective_at = $2 where organization_id = $1', [
      organizationId,
      anchor,
    ]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}
