import { z } from 'zod';
import { PLANS } from '../domain/catalog.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { operation } from './operation.ts';
import { pageQuery } from './page.ts';

export const ORGANIZATIONS_PATH = '/api/v1/organizations';
export const ORGANIZATION_PATH = `${ORGANIZATIONS_PATH}/{organizationId}`;

export function organizationLinks(organizationId: string): z.infer<typeof links> {
  const self = `${ORGANIZATIONS_PATH}/${organizationId}`;
  return { self, members: `${self}/members`, audit: `${self}/audit`, adjustments: `${self}/adjustments` };
}

const links = z.strictObject({ self: z.string(), members: z.string(), audit: z.string(), adjustments: z.string() });
const instant = z.iso.datetime({ offset: false });

/** Text that people read: of one line, and not empty. */
const name = z
  .string()
  .max(200)
  .regex(/[\p{L}\p{N}]/u, 'must have a letter or a digit')
  .regex(/^\P{Cc}*$/u, 'must have no control characters');

/** The zone in which months and days are counted, as the IANA names it. It is set once, when the organization is made. */
const timeZone = z
  .string()
  .max(64)
  .regex(/^[A-Za-z][A-Za-z0-9_+/-]*$/, 'must be the name of a time zone, for example Europe/Berlin')
  .refine(isTimeZone, 'must be the name of a time zone, for example Europe/Berlin');

function isTimeZone(text: string): boolean {
  try {
    return new Intl.DateTimeFormat('en', { timeZone: text }).resolvedOptions().timeZone !== '';
  } catch {
    return false;
  }
}

/** `mode`: keys of a test organization are test keys, and open no live one; it never changes. */
export const organizationRequest = z
  .strictObject({
    id: z.string().regex(ID_PATTERN, 'must be 1 to 64 of the characters A-Z a-z 0-9 _ -').optional(),
    name,
    plan: z.enum(PLANS).default('starter'),
    mode: z.enum(['live', 'test']).default('live'),
    timeZone: timeZone.default('UTC'),
  })
  .meta({ id: 'OrganizationRequest' });
export type OrganizationRequest = z.infer<typeof organizationRequest>;

export const organizationChange = z.strictObject({ name }).meta({ id: 'OrganizationChange' });

/**
 * `plan`: null where an app's own table has none; that opens nothing. `createdAt`: since when its tokens are counted; null: it was
 * there before Tollgate, and has not used any. `suspendedSince`: null while it is not suspended.
 */
export const organization = z
  .strictObject({
    id: z.string(),
    name: z.string(),
    plan: z.nullable(z.string()),
    mode: z.enum(['live', 'test']),
    timeZone: z.string(),
    createdAt: z.nullable(instant),
    suspendedSince: z.nullable(instant),
    links,
  })
  .meta({ id: 'Organization' });
export type Organization = z.infer<typeof organization>;

/** By id. `nextCursor` is null on the last page. */
export const organizationList = z
  .strictObject({
    organizations: z.array(organization),
    nextCursor: z.nullable(z.string()),
  })
  .meta({ id: 'OrganizationList' });
export type OrganizationList = z.infer<typeof organizationList>;

/** `search`: the beginning of an id, or a part of a name. A cursor belongs to the list that gave it. */
export const organizationListQuery = z.strictObject({
  ...pageQuery({ most: 100, usual: 20 }),
  search: z
    .string()
    .min(1)
    .max(100)
    .regex(/^\P{Cc}*$/u, 'must have no control characters')
    .optional(),
});

/** An organization, as it crosses the wire. */
export function writeOrganization(
  present: Omit<Organization, 'createdAt' | 'suspendedSince' | 'links'> & {
    createdAt: Date | null;
    suspendedSince: Date | null;
  },
): Organization {
  const { id, name, plan, mode, timeZone, createdAt, suspendedSince } = present;
  return {
    ...{ id, name, plan, mode, timeZone },
    createdAt: createdAt?.toISOString() ?? null,
    suspendedSince: suspendedSince?.toISOString() ?? null,
    links: organizationLinks(id),
  };
}

const tag = 'Organizations';

export const createOrganization = operation({
  id: 'createOrganization',
  method: 'post',
  path: ORGANIZATIONS_PATH,
  tag,
  summary: 'Make an organization',
  description:
    'It has its allowance at once. Without `id` it is given one that follows from the Idempotency-Key, so a repeat never makes a second.',
  access: 'operators',
  idempotencyKey: 'required',
  body: { schema: organizationRequest },
  answers: { 201: { description: 'Made.', schema: organization, headers: ['Location', 'Idempotent-Replayed'] } },
  problems: ['organization_exists', 'app_table_refused'],
  examples: [
    { title: 'On the smallest plan', body: { name: 'Acme' }, status: 201 },
    {
      title: 'To try things with',
      body: { name: 'Acme, trying', plan: 'pro', mode: 'test', timeZone: 'Europe/Berlin' },
      status: 201,
    },
  ],
});

export const listOrganizations = operation({
  id: 'listOrganizations',
  method: 'get',
  path: ORGANIZATIONS_PATH,
  tag,
  summary: 'All organizations, by id',
  access: 'operators',
  query: organizationListQuery,
  answers: { 200: { description: 'A page.', schema: organizationList } },
  problems: [],
  examples: [{ title: 'Those called so', query: { search: 'acme', limit: '10' }, status: 200 }],
});

export const getOrganization = operation({
  id: 'getOrganization',
  method: 'get',
  path: ORGANIZATION_PATH,
  tag,
  summary: 'An organization',
  access: { role: 'member', scopes: ['organization:read'], operators: true },
  answers: { 200: { description: 'As it is now.', schema: organization } },
  problems: [],
  examples: [{ title: 'One', params: { organizationId: 'acme' }, status: 200 }],
});

export const renameOrganization = operation({
  id: 'renameOrganization',
  method: 'patch',
  path: ORGANIZATION_PATH,
  tag,
  summary: 'Give an organization another name',
  access: { role: 'admin', scopes: ['organization:write'], operators: true },
  body: { schema: organizationChange },
  answers: { 200: { description: 'As it is now.', schema: organization } },
  problems: ['app_table_refused'],
  examples: [{ title: 'Rename', params: { organizationId: 'acme' }, body: { name: 'Acme Bicycles' }, status: 200 }],
});
