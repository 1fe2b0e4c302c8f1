import type { Pool } from 'pg';

/**
 * By table: a digest of every row that is an organization's, but for when its keys were last used, which is written down some time
 * after it happened. Tables are read from the catalog, so a new one takes part by itself.
 */
export async function digestOf(superuser: Pool, organizationId: string): Promise<Map<string, string>> {
  const { rows: tables } = await superuser.query<{ name: string; key: string }>(TABLES);
  const digests = tables.map(
    ({ name, key }) =>
      `select '${name}' as name, coalesce(md5(string_agg(r.text, e'\\n' order by r.text)), 'none') as digest
         from ${name} t, lateral (select (to_jsonb(t) - 'last_used_at')::text) r (text) where t.${key} = $1`,
  );
  const { rows } = await superuser.query<{ name: string; digest: string }>(digests.join('\nunion all\n'), [
    organizationId,
  ]);
  return new Map(rows.map(({ name, digest }) => [name, digest]));
}

const TABLES = `
  select c.oid::regclass::text as name,
         case when c.oid = 'public.organizations'::regclass then 'id' else 'organization_id' end as key
    from pg_catalog.pg_class c
   where c.relkind in ('r', 'p') and not c.relispartition
     and c.relnamespace in ('tollgate'::regnamespace, 'public'::regnamespace)
     and (c.oid = 'public.organizations'::regclass
          or exists (select from pg_catalog.pg_attribute o
                      where o.attrelid = c.oid and o.attname = 'organization_id' and not o.attisdropped))
   order by 1`;
