import type { Pool, PoolClient } from 'pg';
import { call } from './faults.ts';

/**
 * Reads as these organizations: inside one transaction the policies show their rows and nobody else's. The setting ends
 * with the transaction, so a pooled connection carries nothing over to the next tenant.
 */
export function readAs<T>(
  pool: Pool,
  organizationIds: readonly string[],
  read: (client: PoolClient) => Promise<T>,
): Promise<T> {
  return call(async () => {
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      await client.query('begin transaction read only');
      await client.query("select set_config('tollgate.organizations', $1, true)", [organizationIds.join(',')]);
      const result = await read(client);
      await client.query('commit');
      return result;
    } catch (error) {
      broken = error as Error;
      await client.query('rollback').then(
        () => {
          broken = undefined;
        },
        () => {},
      );
      throw error;
    } finally {
      client.release(broken);
    }
  });
}
