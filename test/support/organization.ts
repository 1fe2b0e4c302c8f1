import { randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import { createApiKey } from '../../db/apiKeys.ts';
import type { Plan } from '../../domain/catalog.ts';
import { KEY_SCOPES } from '../../domain/keyScopes.ts';

export interface TestOrganization {
  organizationId: string;
  /** `key:ID` of a key with every scope. */
  principal: string;
  /** The key itself, as an app sends it. */
  secret: string;
}

/** An organization as an app would make it: inserted by `service_role`, provisioned by the trigger, with one API key. */
export async function createOrganization(
  superuser: Pool,
  plan: Plan = 'pro',
  organizationId = `org-${randomUUID().slice(0, 8)}`,
): Promise<TestOrganization> {
  const client = await superuser.connect();
  try {
    await client.query('set role service_role');
    await client.query('insert into public.organizations (id, name, plan) values ($1, $2, $3)', [
      organizationId,
      `Test ${organizationId}`,
      plan,
    ]);
    await client.query('reset role');
    const key = await createApiKey(client, { organizationId, name: 'test', scopes: KEY_SCOPES });
    return { organizationId, principal: `key:${key.id}`, secret: key.secret };
  } finally {
    client.release();
  }
}

/** What the organization can spend of a token type now, and what is set aside. */
export async function balanceOf(
  superuser: Pool,
  organizationId: string,
  tokenType: string,
): Promise<{ available: number; held: number; owed: number }> {
  const { rows } = await superuser.query(
    'select b.available, b.held, b.owed from tollgate.balances b where b.organization_id = $1 and b.token_type = $2',
    [organizationId, tokenType],
  );
  return rows[0];
}
