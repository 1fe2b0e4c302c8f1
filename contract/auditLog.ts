import { z } from 'zod';
import { ID_PATTERN } from '../domain/ids.ts';
import { askedInstant } from './askedInstant.ts';
import { operation } from './operation.ts';
import { ORGANIZATION_PATH } from './organizations.ts';
import { pageQuery } from './page.ts';

export const AUDIT_PATH = '/api/v1/audit';

const instant = z.iso.datetime({ offset: false });

/**
 * Who did what, and why. `actor`: `user:ID`, `key:ID`, `operator:ID`, or `operator` alone where an organization reads of it.
 * `act`: the id of an operation. `subject`: what it was done to. An operator's reading is an act too. Instants have microseconds.
 */
export const auditEntry = z
  .strictObject({
    id: z.int(),
    at: instant,
    organizationId: z.nullable(z.string()),
    actor: z.string(),
    act: z.string(),
    subject: z.nullable(z.string()),
    reason: z.nullable(z.string()),
    changes: z.record(z.string(), z.unknown()),
    requestId: z.nullable(z.string()),
  })
  .meta({ id: 'AuditEntry' });
export type AuditEntry = z.infer<typeof auditEntry>;

/** Newest first. `nextCursor` is null on the last page. */
export const auditPage = z
  .strictObject({ entries: z.array(auditEntry), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'AuditPage' });
export type AuditPage = z.infer<typeof auditPage>;

/** `from` and `to` are instants; `to` itself is left out. A cursor belongs to the list that gave it. */
export const organizationAuditQuery = z.strictObject({
  ...pageQuery({ most: 200, usual: 50 }),
  actor: z
    .string()
    .regex(/^(operator|(operator|user|key|sql):[A-Za-z0-9_-]{1,64})$/, 'must be an actor, for example user:ID')
    .optional(),
  act: z
    .string()
    .regex(/^[a-z][A-Za-z]{0,63}$/, 'must be the id of an operation, for example setMember')
    .optional(),
  from: askedInstant.optional(),
  to: askedInstant.optional(),
});
export type OrganizationAuditQuery = z.infer<typeof organizationAuditQuery>;

export const auditQuery = organizationAuditQuery.extend({
  organizationId: z.string().regex(ID_PATTERN, 'must be the id of an organization').optional(),
});

const tag = 'Audit log';

export const listAuditLog = operation({
  id: 'listAuditLog',
  method: 'get',
  path: AUDIT_PATH,
  tag,
  summary: 'What was done anywhere, newest first',
  access: 'operators',
  query: auditQuery,
  answers: { 200: { description: 'A page.', schema: auditPage } },
  problems: [],
  examples: [{ title: 'Members that were changed', query: { act: 'setMember', limit: '10' }, status: 200 }],
});

export const listOrganizationAuditLog = operation({
  id: 'listOrganizationAuditLog',
  method: 'get',
  path: `${ORGANIZATION_PATH}/audit`,
  tag,
  summary: 'What was done to an organization, newest first',
  description: 'What operators did and read is in it, with their reasons, without their names.',
  access: { role: 'admin', scopes: ['organization:read'], operators: true },
  query: organizationAuditQuery,
  answers: { 200: { description: 'A page.', schema: auditPage } },
  problems: [],
  examples: [
    { title: 'What operators did', params: { organizationId: 'acme' }, query: { actor: 'operator' }, status: 200 },
  ],
});
