import { randomUUID } from 'node:crypto';
import { createCoalescer } from '../db/coalescer.ts';
import { createPool } from '../db/pool.ts';
import { CHARGE, HOLD, HOLD_LIFETIME_MS, principalOf, type Side } from './side.ts';

/** The product: the API's pool and login, and its coalescer, called by everybody in this process. */
export function openOurs(url: string): Side {
  const pool = createPool({ url, applicationName: 'tollgate-bench' });
  const ledger = createCoalescer(pool);
  return {
    async hold(organizationId, amount: number = HOLD.amount) {
      const holdId = randomUUID();
      const principal = principalOf(organizationId);
      const { outcome } = await ledger.hold({
        organizationId,
        principal,
        holdId,
        feature: HOLD.feature,
        amount,
        lifetimeMs: HOLD_LIFETIME_MS,
      });
      if (outcome !== 'held') throw new Error(`a hold on ${organizationId} was answered ${outcome}`);
      return holdId;
    },

    async capture(organizationId, holdId, amount = CHARGE) {
      const principal = principalOf(organizationId);
      const { outcome } = await ledger.capture({ organizationId, principal, holdId, amount });
      if (outcome !== 'captured') throw new Error(`a capture on ${organizationId} was answered ${outcome}`);
    },

    async close() {
      await ledger.close();
      await pool.end();
    },
  };
}
