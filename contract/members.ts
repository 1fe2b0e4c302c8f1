import { z } from 'zod';
import { operation } from './operation.ts';
import { ORGANIZATION_PATH, ORGANIZATIONS_PATH } from './organizations.ts';
import { pageQuery } from './page.ts';

const links = z.strictObject({ self: z.string() });

/** Admins may do what concerns the organization as a whole; members use its tokens. Other roles of an app's own are members here. */
const role = z.enum(['member', 'admin']);

/** `userId`: the sign-in service's, the `sub` of his session tokens. */
export const member = z.strictObject({ userId: z.string(), role, links }).meta({ id: 'Member' });
export type Member = z.infer<typeof member>;

/** By user id. `nextCursor` is null on the last page. */
export const memberList = z
  .strictObject({ members: z.array(member), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'MemberList' });
export type MemberList = z.infer<typeof memberList>;

export const memberListQuery = z.strictObject(pageQuery({ most: 100, usual: 50 }));

export const memberRequest = z.strictObject({ role }).meta({ id: 'MemberRequest' });

export function writeMember(organizationId: string, present: Omit<Member, 'links'>): Member {
  const { userId, role } = present;
  return { userId, role, links: { self: `${ORGANIZATIONS_PATH}/${organizationId}/members/${userId}` } };
}

const tag = 'Organizations';
const mayAdminister = { role: 'admin', scopes: ['organization:write'], operators: true } as const;
const MEMBERS_PATH = `${ORGANIZATION_PATH}/members`;

export const listMembers = operation({
  id: 'listMembers',
  method: 'get',
  path: MEMBERS_PATH,
  tag,
  summary: 'Who belongs to an organization, and as what',
  access: { role: 'member', scopes: ['organization:read'], operators: true },
  query: memberListQuery,
  answers: { 200: { description: 'A page.', schema: memberList } },
  problems: [],
  examples: [{ title: 'The first ten', params: { organizationId: 'acme' }, query: { limit: '10' }, status: 200 }],
});

export const setMember = operation({
  id: 'setMember',
  method: 'put',
  path: `${MEMBERS_PATH}/{userId}`,
  tag,
  summary: 'Add a user, or change his role',
  description:
    'A user belongs to one organization. To make the last admin a member takes an operator. A key makes an admin only if it has every scope and no end.',
  access: mayAdminister,
  body: { schema: memberRequest },
  answers: { 200: { description: 'He is that now.', schema: member } },
  problems: ['key_below_admin', 'member_elsewhere', 'last_admin', 'app_table_refused'],
  examples: [
    { title: 'Add a member', params: { organizationId: 'acme', userId: 'ann' }, body: { role: 'member' }, status: 200 },
  ],
});

export const removeMember = operation({
  id: 'removeMember',
  method: 'delete',
  path: `${MEMBERS_PATH}/{userId}`,
  tag,
  summary: 'Take a user out of an organization',
  description: 'Sessions that he still has open nothing from then on. To remove the last admin takes an operator.',
  access: mayAdminister,
  answers: { 204: { description: 'He is out.' } },
  problems: ['member_not_found', 'last_admin', 'app_table_refused'],
  examples: [{ title: 'Remove', params: { organizationId: 'acme', userId: 'ann' }, status: 204 }],
});
