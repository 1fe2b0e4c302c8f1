import type { Pool } from 'pg';
import { setCaps } from '../../db/caps.ts';
import { createOperator } from '../../db/operators.ts';
import { resumeOrganization, suspendOrganization } from '../../db/suspensions.ts';
import type { TestDatabase } from './database.ts';

/** Somebody who may suspend organizations and set their caps; each of his acts must succeed. */
export interface TestOperator {
  /** `operator:ID`. */
  principal: string;
  /** As he sends it. */
  credential: string;
  suspend(organizationId: string): Promise<Date>;
  resume(organizationId: string): Promise<void>;
  /** Null, or left out: as many as is usual. */
  cap(organizationId: string, caps: { holds?: number | null; jobs?: number | null }): Promise<void>;
}

export async function newOperator({ superuser, api }: { superuser: Pool; api: Pool }): Promise<TestOperator> {
  const { id, credential } = await createOperator(superuser, { name: 'test' });
  const principal = `operator:${id}`;
  const act = (organizationId: string) => ({ actor: principal, organizationId, reason: 'a test', requestId: 'test' });
  return {
    principal,
    credential,
    suspend: async (organizationId) => {
      const made = await suspendOrganization(api, act(organizationId));
      if (made.outcome !== 'suspended') throw new Error(made.outcome);
      return made.suspendedSince;
    },
    resume: async (organizationId) => {
      const { outcome } = await resumeOrganization(api, act(organizationId));
      if (outcome !== 'resumed') throw new Error(outcome);
    },
    cap: async (organizationId, { holds = null, jobs = null }) => {
      const { outcome } = await setCaps(api, act(organizationId), { mostOpenHolds: holds, mostOpenJobs: jobs });
      if (outcome !== 'set') throw new Error(outcome);
    },
  };
}

/** What the audit log says of an organization, oldest first. */
export async function auditOf({ superuser }: Pick<TestDatabase, 'superuser'>, organizationId: string) {
  const { rows } = await superuser.query(
    `select l.actor, l.act, l.subject, l.reason, l.changes, l.request_id as "requestId"
       from tollgate.audit_log l where l.organization_id = $1 order by l.id`,
    [organizationId],
  );
  return rows;
}
