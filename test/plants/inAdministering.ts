import type { Plant } from './plant.ts';

const LOCK = '  perform from public.organizations o where o.id = p_organization for no key update;\n';

/** Who administers, what is written of it, and who may read that. */
export const PLANTS_IN_ADMINISTERING: Plant[] = [
  {
    bug: 'two removals at once count the same admins',
    file: 'migrations/functions/remove_member.sql',
    find: LOCK,
    replace: '',
    caughtBy: 'test/api/members.test.ts',
    test: 'of 20 admins',
  },
  {
    bug: 'two demotions at once count the same admins',
    file: 'migrations/functions/set_member.sql',
    find: LOCK,
    replace: '',
    caughtBy: 'test/api/members.test.ts',
    test: 'of two who are demoted',
  },
  {
    bug: 'a user of another organization is taken from it',
    file: 'migrations/functions/set_member.sql',
    find: 'if v_before.organization_id <> p_organization then',
    replace: 'if false then',
    caughtBy: 'test/api/members.test.ts',
    test: 'a user of another organization is not taken',
  },
  {
    bug: 'every member administers',
    file: 'migrations/functions/may_administer.sql',
    find: " and p.role::text = 'admin'",
    replace: '',
    caughtBy: 'test/api/members.test.ts',
    test: 'SQL itself refuses',
  },
  {
    bug: 'every key administers',
    file: 'migrations/functions/may_administer.sql',
    find: " and 'organization:write' = any (k.scopes)",
    replace: '',
    caughtBy: 'test/api/members.test.ts',
    test: 'SQL itself refuses',
  },
  {
    bug: 'an operator who was revoked still acts',
    file: 'migrations/functions/may_administer.sql',
    find: 'and o.revoked_at is null ',
    replace: '',
    caughtBy: 'test/api/organizations.test.ts',
    test: 'SQL itself refuses',
  },
  {
    bug: 'of equal requests at once all but one are told that the organization exists',
    file: 'migrations/functions/create_organization.sql',
    find: 'perform pg_advisory_xact_lock(',
    replace: 'perform abs(',
    caughtBy: 'test/api/organizations.test.ts',
    test: 'of 8 equal requests',
  },
  {
    bug: 'an operator’s key is one with the organization’s',
    file: 'migrations/functions/adjust_as_operator.sql',
    find: "'adjust:' || encode(sha256(convert_to(jsonb_build_array(p_actor, p_key)::text, 'UTF8')), 'hex')",
    replace: 'p_key',
    caughtBy: 'test/api/adjustments.test.ts',
    test: 'R5',
  },
  {
    bug: 'what an operator reads is written down nowhere',
    file: 'api/mount.ts',
    find: "method === 'get' &&",
    replace: "method === 'put' &&",
    caughtBy: 'test/api/audit.test.ts',
    test: 'is in the audit log before',
  },
  {
    bug: 'an organization is told which operator it was',
    file: 'db/auditLog.ts',
    find: "isForOperator ? 'l.actor'",
    replace: "true ? 'l.actor'",
    caughtBy: 'test/api/audit.test.ts',
    test: 'of operators the reason and not who',
  },
];
