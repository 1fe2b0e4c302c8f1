import { Context } from '@temporalio/activity';
import type { Pool } from 'pg';
import { type BalanceKey, sealLedger } from '../db/seals.ts';
import { withReason } from './reason.ts';

export type LedgerSealing = ReturnType<typeof createLedgerSealing>;

export interface SealingAnswer {
  balances: number;
  seals: number;
  entries: number;
  /** Balances whose entries are not all there: left unsealed. */
  gaps: number;
}

const PAGE = 100;

/** Seals what the ledger has appended since the last time. */
export function createLedgerSealing({ pool }: { pool: Pool }) {
  return {
    /**
     * Safe to run twice, and two at once: of one next seal the primary key lets one in, and what is sealed is found sealed.
     * A worker that dies is followed by one that begins where its last heartbeat was.
     */
    async sealUnsealedEntries(): Promise<SealingAnswer> {
      const answer: SealingAnswer = { balances: 0, seals: 0, entries: 0, gaps: 0 };
      const { info } = Context.current();
      let after: BalanceKey | null = info.heartbeatDetails ?? null;
      for (;;) {
        const { next, ...page } = await withReason('seal_ledger', () => sealLedger(pool, { after, balances: PAGE }));
        for (const figure of ['balances', 'seals', 'entries', 'gaps'] as const) answer[figure] += page[figure];
        if (next === null) return answer;
        after = next;
        Context.current().heartbeat(next);
      }
    },
  };
}
