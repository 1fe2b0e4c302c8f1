import type { Pool, PoolClient } from 'pg';

/** A transaction that has written events and may still be open: its ids are taken, and nobody sees them yet. */
export interface OpenWriter {
  write(organizationId: string, kind: string): Promise<number>;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** Writes as the money functions do, with the commit in the test's hands. */
export async function openWriter(superuser: Pool): Promise<OpenWriter> {
  const client = await superuser.connect();
  await client.query('begin');
  const end = (how: 'commit' | 'rollback') => async () => {
    await client.query(how);
    client.release();
  };
  return {
    write: (organizationId, kind) => insert(client, organizationId, kind),
    commit: end('commit'),
    rollback: end('rollback'),
  };
}

/** One event in a transaction of its own. */
export function writeEvent(superuser: Pool, organizationId: string, kind: string): Promise<number> {
  return insert(superuser, organizationId, kind);
}

async function insert(client: Pool | PoolClient, organizationId: string, kind: string): Promise<number> {
  const { rows } = await client.query(
    'insert into tollgate.outbox (organization_id, kind) values ($1, $2) returning id',
    [organizationId, kind],
  );
  return rows[0].id;
}
