import type { ClientBase } from 'pg';

/**
 * Makes tollgate.ledger_entries something that can be written row by row, until the caller's transaction is rolled back:
 * for tests of what must notice when an entry is not what it was. However the ledger is stored, readers go through it.
 */
export async function ledgerAsTable(client: ClientBase): Promise<void> {
  const { rows } = await client.query(
    `select c.relkind = 'v' as is_view from pg_catalog.pg_class c where c.oid = 'tollgate.ledger_entries'::regclass`,
  );
  if (!rows[0].is_view) return;
  await client.query(`
    create table tollgate.ledger_as_table as select * from tollgate.ledger_entries;
    grant select on tollgate.ledger_as_table to public;
    create or replace view tollgate.ledger_entries with (security_invoker = true) as select * from tollgate.ledger_as_table`);
}
