import type { Pool } from 'pg';
import type { Membership } from './credentials.ts';
import { call } from './faults.ts';
import type { Act } from './organizations.ts';
import { readAs } from './tenant.ts';

export interface Member {
  userId: string;
  role: 'member' | 'admin';
}

/** Up to `limit` members by user id, behind `after`. An app's own table may know other roles: they are members here. */
export function listMembers(
  pool: Pool,
  organizationId: string,
  { after, limit }: { after: string | null; limit: number },
): Promise<Member[]> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query(
      `select p.id::text as "userId", case p.role::text when 'admin' then 'admin' else 'member' end as role
         from public.user_profiles p
        where p.organization_id = $1 and ($2::text is null or p.id::text > $2)
        order by p.id::text
        limit $3`,
      [organizationId, after, limit],
    );
    return rows;
  });
}

/** See migrations/functions/set_member.sql. Repeating it is safe. */
export async function setMember(
  pool: Pool,
  member: Act & Membership & { userId: string },
): Promise<
  | 'member_set'
  | 'not_an_admin'
  | 'organization_unknown'
  | 'key_below_admin'
  | 'member_elsewhere'
  | 'last_admin'
  | 'app_table_refused'
> {
  const { organizationId, userId, role, actor, reason, requestId } = member;
  const { rows } = await call(() =>
    pool.query('select tollgate.set_member($1, $2, $3, $4, $5, $6) as outcome', [
      ...[actor, organizationId, userId, role, reason, requestId],
    ]),
  );
  return rows[0].outcome;
}

/** See migrations/functions/remove_member.sql. A repeat finds nobody. */
export async function removeMember(
  pool: Pool,
  member: Act & { organizationId: string; userId: string },
): Promise<
  'removed' | 'not_an_admin' | 'organization_unknown' | 'member_unknown' | 'last_admin' | 'app_table_refused'
> {
  const { organizationId, userId, actor, reason, requestId } = member;
  const { rows } = await call(() =>
    pool.query('select tollgate.remove_member($1, $2, $3, $4, $5) as outcome', [
      ...[actor, organizationId, userId, reason, requestId],
    ]),
  );
  return rows[0].outcome;
}
