import { Context } from '@temporalio/activity';
import type { Pool } from 'pg';
import { applyRetention } from '../db/retention.ts';
import { withReason } from './reason.ts';

export type RetentionSteps = ReturnType<typeof createRetentionSteps>;

export interface ErasureAnswer {
  organizations: number;
  inputs: number;
  results: number;
  records: number;
}

const PAGE = 500;

/** Erases what organizations no longer keep. */
export function createRetentionSteps({ pool }: { pool: Pool }) {
  return {
    /**
     * Safe to run twice, and two at once: what is erased is not found again, and what another run holds is skipped. A worker that dies
     * is followed by one that begins where its last heartbeat was.
     */
    async eraseWhatIsOver(): Promise<ErasureAnswer> {
      const answer: ErasureAnswer = { organizations: 0, inputs: 0, results: 0, records: 0 };
      let after: string | null = Context.current().info.heartbeatDetails ?? null;
      for (;;) {
        const page = await withReason('apply_retention', () => applyRetention(pool, { after, limit: PAGE }));
        for (const figure of ['organizations', 'inputs', 'results', 'records'] as const) answer[figure] += page[figure];
        if (page.isLast) return answer;
        after = page.next;
        Context.current().heartbeat(after);
      }
    },
  };
}
