import { writeSync } from 'node:fs';
import type { Pool } from 'pg';
import { createCoalescer } from '../../db/coalescer.ts';
import { createPool } from '../../db/pool.ts';

/**
 * A process with a coalescer in it, to be killed. CALLERS callers each take holds of one token and capture them, one after the
 * other. Writes a line of JSON for each call that is made, each statement that is sent and each answer that is heard,
 * before anything else happens: what is in the file has happened, whatever became of us.
 */
export type CoalescingLine =
  | { event: 'called' | 'answered'; verb: 'hold' | 'capture'; holdId: string; outcome?: string }
  | { event: 'sent'; verb: 'hold' | 'capture'; holdIds: string[] };

const { DATABASE_URL, NAME, CALLERS, ORGANIZATIONS } = process.env as Record<string, string>;
const organizations: { organizationId: string; principal: string }[] = JSON.parse(ORGANIZATIONS!);
const write = (line: CoalescingLine) => writeSync(1, `${JSON.stringify(line)}\n`);

const pool = createPool({ url: DATABASE_URL!, applicationName: NAME! });
const query = pool.query.bind(pool) as (...args: unknown[]) => unknown;
pool.query = ((statement: { name: string; values: string[][] }) => {
  const verb = statement.name === 'hold_tokens' ? 'hold' : 'capture';
  write({ event: 'sent', verb, holdIds: statement.values[2]! });
  return query(statement);
}) as Pool['query'];
const ledger = createCoalescer(pool);

for (let caller = 0; caller < Number(CALLERS); caller++) {
  void (async () => {
    for (let n = 0; ; n++) {
      const who = { ...organizations[caller % organizations.length]!, holdId: `${NAME}-${caller}-${n}` };
      const calls = {
        hold: () => ledger.hold({ ...who, feature: 'generate_leads', amount: 1, lifetimeMs: 3_600_000 }),
        capture: () => ledger.capture({ ...who, amount: null }),
      };
      for (const verb of ['hold', 'capture'] as const) {
        write({ event: 'called', verb, holdId: who.holdId });
        const { outcome } = await calls[verb]();
        write({ event: 'answered', verb, holdId: who.holdId, outcome });
      }
    }
  })();
}
