import { randomUUID } from 'node:crypto';
import { expect } from 'vitest';
import { expectProblem, type Reply, startTestApi, type TestApi, traces } from '../api/testApi.ts';
import { addGrant } from '../support/grant.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import type { CrashingPostgres } from './crashingPostgres.ts';

/** Calls that may wait in the API. */
export const MAX_QUEUED = 20;
/** More at once than may wait. */
export const FLOOD = 60;

/** An organization with tokens enough, who uses the ledger over HTTP. */
export interface LedgerOverHttp {
  api: TestApi;
  organization: TestOrganization;
  /** Two tokens, under a new key unless one is given. */
  hold(idempotencyKey?: string): Promise<Reply>;
  /** What all requests together have left behind. */
  traces(): ReturnType<typeof traces>;
  /** Whatever moves tokens is refused with 503 and has moved none, though more come at once than may wait. */
  expectFailsClosed(open: Reply): Promise<void>;
  /** Nobody restarts anything: the same process, the same pool. Then everything works again. `open` is a hold. */
  expectRecovery(open: Reply): Promise<void>;
  close(): Promise<void>;
}

export async function ledgerOverHttp(postgres: CrashingPostgres): Promise<LedgerOverHttp> {
  const api = await startTestApi({ apiUrl: postgres.urls.api }, { maxQueued: MAX_QUEUED });
  const organization = await createOrganization(postgres.superuser, 'enterprise');
  await addGrant(postgres.superuser, organization.organizationId, { amount: 1_000_000 });

  const ask = (path: string, json: unknown, headers = {}) =>
    api.call(path, { key: organization.secret, json, headers });
  const hold = (idempotencyKey: string = randomUUID()) =>
    ask('/api/v1/holds', { feature: 'generate_leads', tokens: 2 }, { 'Idempotency-Key': idempotencyKey });
  const tracesNow = () => traces(postgres, organization.organizationId);
  const deduction = {
    organizationId: organization.organizationId,
    featureUsed: 'generate_leads',
    action: 'deduct',
  };
  return {
    api,
    organization,
    hold,
    traces: tracesNow,
    expectFailsClosed: async (open) => {
      const before = await tracesNow();
      const replies = await Promise.all([
        ...Array.from({ length: FLOOD }, () => hold()),
        ask(open.body.links.capture, { tokens: 1 }),
        ask(open.body.links.release, {}),
        ask('/api/v1/tokens/check-balance', deduction),
      ]);
      for (const reply of replies) expectUnavailable(reply);
      expect(await tracesNow()).toEqual(before);
    },
    expectRecovery: async (open) => {
      await until(async () => (await hold()).status === 201, 30_000);
      const replies = await Promise.all(Array.from({ length: MAX_QUEUED }, () => hold()));
      expect(replies.map(({ status }) => status)).toEqual(replies.map(() => 201));
      const captured = await ask(open.body.links.capture, { tokens: 1 });
      expect(captured).toMatchObject({ status: 200, body: { captured: 1, returned: 1 } });
      expect(api.pool.waitingCount).toBe(0);
    },
    close: async () => {
      await api.close();
      await expectInvariants(postgres.superuser);
    },
  };
}

export function expectUnavailable(reply: Reply): void {
  expectProblem(reply, reply.body?.code === 'ledger_busy' ? 'ledger_busy' : 'database_unavailable');
  expect(reply.headers.get('retry-after')).toBe('1');
}
