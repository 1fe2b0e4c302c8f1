import type { Pool } from 'pg';

/**
 * Lets time pass for one organization without waiting: everything that it has dated moves into the past by `duration`, an
 * interval of PostgreSQL in days or smaller units ('40 days', '90 seconds'). What fell due meanwhile takes effect in the
 * next call that looks, exactly as after a wait.
 *
 * Reads the columns from the catalog, so that a new table takes part by itself. Needs a superuser: the triggers that
 * keep history unchanged stay quiet.
 */
export async function elapse(superuser: Pool, organizationId: string, duration: string): Promise<void> {
  const client = await superuser.connect();
  try {
    await client.query('begin');
    await client.query("set local session_replication_role = 'replica'");
    // A day is 24 hours here, whatever the server's zone does in that night.
    await client.query("set local time zone 'UTC'");
    const { rows: tables } = await client.query<{ name: string; key: string; columns: string[]; lists: string[] }>(
      DATED_TABLES,
    );
    // Far away and back again: a step by one period would meet the period before it in the unique index.
    for (const step of [`-(interval '${duration}') - interval '400000 days'`, "interval '400000 days'"]) {
      for (const { name, key, columns, lists } of tables) {
        const assignments = [
          ...columns.map((column) => `${column} = ${column} + (${step})`),
          ...lists.map(
            (list) =>
              `${list} = (select array_agg(u.at + (${step}) order by u.position) from unnest(${list}) with ordinality as u (at, position))`,
          ),
        ];
        await client.query(`update ${name} set ${assignments.join(', ')} where ${key} = $1`, [organizationId]);
      }
    }
    // Moved entries are another history: what was sealed of the old one would be found tampered with.
    await client.query('delete from tollgate.ledger_seals where organization_id = $1', [organizationId]);
    await client.query(KEEP_CALENDAR, [organizationId]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}

const DATED_TABLES = `
  select c.oid::regclass::text as name,
         case when c.oid = 'public.organizations'::regclass then 'id' else 'organization_id' end as key,
         coalesce(array_agg(quote_ident(dated.attname) order by dated.attnum) filter (where dated.atttypid = 'timestamptz'::regtype), '{}') as columns,
         coalesce(array_agg(quote_ident(dated.attname) order by dated.attnum) filter (where dated.atttypid = 'timestamptz[]'::regtype), '{}') as lists
    from pg_catalog.pg_class c
    join pg_catalog.pg_attribute dated
      on dated.attrelid = c.oid and dated.atttypid in ('timestamptz'::regtype, 'timestamptz[]'::regtype) and not dated.attisdropped
   where c.relkind in ('r', 'p') and c.relnamespace in ('tollgate'::regnamespace, 'public'::regnamespace)
     and (c.oid = 'public.organizations'::regclass
          or exists (select from pg_catalog.pg_attribute o where o.attrelid = c.oid and o.attname = 'organization_id' and not o.attisdropped))
   group by c.oid
   order by 1`;

/**
 * Months have no fixed length: an anchor that moved by days no longer meets the refresh dates that it once gave. So it
 * is set on the refresh date that most balances share, and the periods from there on are whole months again.
 */
const KEEP_CALENDAR = `
  update tollgate.billing_cycles c
     set anchor = (select mode() within group (order by b.refresh_date) from tollgate.balances b where b.organization_id = $1)
   where c.organization_id = $1
     and exists (select from tollgate.balances b where b.organization_id = $1)`;
