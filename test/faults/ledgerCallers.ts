import { createHash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Pool } from 'pg';
import { type Coalescer, LedgerBusy } from '../../db/coalescer.ts';
import { DatabaseFault } from '../../db/faults.ts';
import { refundCharge } from '../../db/holds.ts';
import { seededRandom } from '../../dev/seededRandom.ts';
import type { TestOrganization } from '../support/organization.ts';
import type { HoldFacts } from './ledgerFacts.ts';

/** What callers were told, and how. */
export interface Acknowledgements {
  /** By organization and hold id: what the answers so far add up to. */
  holds: Map<string, HoldFacts>;
  answers: number;
  /** Calls that failed with their fate unknown, or were not taken, and were made again under the same id. */
  repeats: number;
  /** Answers that said "done already": the commit was there, and only its answer had been lost. */
  foundDone: number;
  /** Answers that cannot be, after what was answered before. */
  contradictions: string[];
}

export const VERBS = ['capture', 'hold', 'refund', 'release', 'grow'] as const;
type Verb = (typeof VERBS)[number];

export interface Callers {
  acknowledged: Acknowledgements;
  /** Resolve in the moment in which so many more answers have come, or one to this verb; reject when none comes. */
  moreAnswers(count: number): Promise<void>;
  nextAnswer(verb: Verb): Promise<void>;
  /** Lets each finish the hold it is at; rejects when one has met a bug. */
  finish(): Promise<void>;
}

const LIFETIME_MS = 3_600_000;
/** No restart takes so long. */
const PATIENCE_MS = 30_000;

/**
 * Callers who take holds, let them grow, charge them in parts and whole, release them and give charges back, one call after
 * the other, as fast as they are answered. What caller n does follows from the seed and n.
 */
export function startCallers({
  ledger,
  pool,
  organizations,
  count,
  seed,
}: {
  ledger: Coalescer;
  pool: Pool;
  /** The first three are hot. */
  organizations: readonly TestOrganization[];
  count: number;
  seed: number;
}): Callers {
  const acknowledged: Acknowledgements = {
    holds: new Map(),
    answers: 0,
    repeats: 0,
    foundDone: 0,
    contradictions: [],
  };
  let isOver = false;
  const awaited = new Map<number | Verb, () => void>();

  /** Makes the call until it is answered, always under the same id. False when the answer is not as it must be. */
  async function settled<T extends { isRepeat: boolean }>(
    verb: Verb,
    call: () => Promise<T>,
    mustBe: Partial<T>,
  ): Promise<boolean> {
    const giveUpAt = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        const answer = await call();
        acknowledged.answers += 1;
        awaited.get(acknowledged.answers)?.();
        awaited.get(verb)?.();
        if (answer.isRepeat) acknowledged.foundDone += 1;
        const isAsExpected = Object.entries(mustBe).every(([name, value]) => answer[name as keyof T] === value);
        if (!isAsExpected)
          acknowledged.contradictions.push(`${JSON.stringify(answer)} instead of ${JSON.stringify(mustBe)}`);
        return isAsExpected;
      } catch (error) {
        if (!(error instanceof DatabaseFault || error instanceof LedgerBusy) || performance.now() > giveUpAt)
          throw error;
        acknowledged.repeats += 1;
        await pause(20);
      }
    }
  }

  async function useHold(holdId: string, organization: TestOrganization, random: () => number): Promise<void> {
    const { organizationId, principal } = organization;
    const who = { organizationId, principal, holdId };
    const upTo = (most: number) => 1 + Math.floor(random() * most);
    const chance = (share: number) => random() < share;

    const amount = 10 + upTo(10);
    const request = { ...who, feature: 'generate_leads' as const, amount, lifetimeMs: LIFETIME_MS };
    if (!(await settled('hold', () => ledger.hold(request), { outcome: 'held' }))) return;
    const facts: HoldFacts = { state: 'held', amount, holds: 1, captured: 0, returned: 0, charges: {}, refunds: {} };
    acknowledged.holds.set(`${organizationId}/${holdId}`, facts);

    if (chance(0.2)) {
      const more = upTo(5);
      if (!(await settled('grow', () => ledger.grow({ ...who, key: 'more', amount: more }), { outcome: 'grown' })))
        return;
      facts.amount += more;
      facts.holds += 1;
    }

    async function charge(tokens: number, key: string | null): Promise<boolean> {
      const isLast = key === null;
      const returned = isLast ? facts.amount - facts.captured - tokens : 0;
      const chargeId = `${holdId}.${Object.keys(facts.charges).length + 1}`;
      const capture = () => ledger.capture({ ...who, amount: tokens, key, isLast });
      if (!(await settled('capture', capture, { outcome: 'captured', chargeId, captured: tokens, returned })))
        return false;
      facts.charges[chargeId] = tokens;
      facts.captured += tokens;
      facts.returned += returned;
      if (isLast) facts.state = 'captured';
      return true;
    }
    for (let part = chance(0.4) ? upTo(2) : 0; part > 0; part--) if (!(await charge(upTo(4), `part-${part}`))) return;

    const open = facts.amount - facts.captured;
    if (chance(0.6)) {
      if (!(await charge(upTo(open), null))) return;
    } else if (chance(0.7)) {
      if (!(await settled('release', () => ledger.release(who), { outcome: 'released', returned: open }))) return;
      facts.state = 'released';
      facts.returned += open;
    }

    for (const [chargeId, charged] of Object.entries(facts.charges)) {
      if (!chance(0.3)) continue;
      const tokens = upTo(charged);
      const key = `refund-${chargeId}`;
      const idempotency = { key, requestHash: createHash('sha256').update(`${key} ${tokens}`).digest() };
      const refund = { organizationId, principal, chargeId, amount: tokens, reason: 'of no use', idempotency };
      if (!(await settled('refund', () => refundCharge(pool, refund), { outcome: 'refunded', refunded: tokens })))
        return;
      facts.refunds[chargeId] = tokens;
    }
  }

  const callers = Array.from({ length: count }, async (_, number) => {
    const random = seededRandom(seed * 1_000 + number);
    const oneOf = (some: readonly TestOrganization[]) => some[Math.floor(random() * some.length)]!;
    for (let n = 0; !isOver; n++) {
      const organization = oneOf(random() < 0.6 ? organizations.slice(0, 3) : organizations);
      await useHold(`h-${number}-${n}`, organization, random);
    }
  });
  const all = Promise.all(callers);
  // It is awaited only in the end, and may reject before.
  all.catch(() => {});
  const reached = (what: number | Verb) =>
    new Promise<void>((resolve, reject) => {
      awaited.set(what, resolve);
      all.catch(reject);
    });
  return {
    acknowledged,
    moreAnswers: (more) => reached(acknowledged.answers + more),
    nextAnswer: reached,
    finish: async () => {
      isOver = true;
      await all;
    },
  };
}
