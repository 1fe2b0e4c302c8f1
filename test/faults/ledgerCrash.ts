import { setTimeout as pause } from 'node:timers/promises';
import { createCoalescer } from '../../db/coalescer.ts';
import { createPool } from '../../db/pool.ts';
import { type Finding, verify } from '../../db/verify.ts';
import { seededRandom } from '../../dev/seededRandom.ts';
import { addGrant } from '../support/grant.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { startCrashingPostgres } from './crashingPostgres.ts';
import { startCallers, VERBS } from './ledgerCallers.ts';
import { type Difference, differences, holdFacts } from './ledgerFacts.ts';

export interface LedgerCrashOptions {
  seed: number;
  kills: number;
  callers: number;
  /** Off: the control, in which commits are acknowledged that are not on disk yet. */
  synchronousCommit: 'on' | 'off';
  say: (line: string) => void;
}

export interface LedgerCrashReport {
  answers: number;
  repeats: number;
  foundDone: number;
  /** Holds of which more, less or something else was acknowledged than is durable. Every call has been answered by then. */
  differences: Difference[];
  contradictions: string[];
  /** Balances that are not what the acknowledged answers leave of what was granted. */
  balances: { organizationId: string; available: number; held: number; mustBe: { available: number; held: number } }[];
  findings: Finding[];
  unhandledRejections: unknown[];
  /** Of the callers' pool, when all was over. */
  connections: { open: number; idle: number; waiting: number };
}

/**
 * What is acknowledged must not depend on luck. Processes that get SIGKILL leave what they wrote to the kernel, and
 * PostgreSQL's WAL writer writes all the time: even a server that acknowledges too early would lose next to nothing. So the
 * WAL writer sleeps here, and nobody else writes WAL in passing: what is in the WAL, a commit has waited for.
 */
const WAL_IS_WRITTEN_BY_COMMITS_ONLY = {
  wal_writer_delay: '10s',
  wal_writer_flush_after: '1GB',
  wal_buffers: '64MB',
  bgwriter_lru_maxpages: '0',
  autovacuum: 'off',
  checkpoint_timeout: '1h',
  max_wal_size: '4GB',
};
const GRANTED = 1_000_000_000;
const FEWEST_ANSWERS_BETWEEN_KILLS = 200;
const MOST_ANSWERS_BETWEEN_KILLS = 2_000;
const LONGEST_MOMENT_MS = 30;

/**
 * Callers at full speed while PostgreSQL, all of it, is killed with SIGKILL again and again and restarted on what it left.
 * A kill comes a random number of answers after the start before it. Calls that were lost are repeated under their ids;
 * when all are answered, what was acknowledged and what is durable must be the same.
 */
export async function runLedgerCrash({
  seed,
  kills,
  callers: count,
  synchronousCommit,
  say,
}: LedgerCrashOptions): Promise<LedgerCrashReport> {
  say(`seed ${seed}, synchronous_commit ${synchronousCommit}`);
  const random = seededRandom(seed);
  const unhandledRejections: unknown[] = [];
  const onUnhandled = (reason: unknown) => void unhandledRejections.push(reason);
  process.on('unhandledRejection', onUnhandled);
  const postgres = await startCrashingPostgres({
    ...WAL_IS_WRITTEN_BY_COMMITS_ONLY,
    synchronous_commit: synchronousCommit,
  });
  const pool = createPool({ url: postgres.urls.api, applicationName: 'crash-callers' });
  try {
    const organizations: TestOrganization[] = [];
    for (let n = 0; n < 60; n++) {
      const organization = await createOrganization(postgres.superuser, 'enterprise', `org-${n}`);
      await addGrant(postgres.superuser, organization.organizationId, { amount: GRANTED });
      organizations.push(organization);
    }
    const atFirst = await balances();
    // The organizations are no part of what is tried: they are on disk, whatever the setting.
    await postgres.superuser.query('checkpoint');

    const ledger = createCoalescer(pool);
    const { acknowledged, moreAnswers, nextAnswer, finish } = startCallers({
      ledger,
      pool,
      organizations,
      count,
      seed,
    });
    for (let kill = 1; kill <= kills; kill++) {
      const range = MOST_ANSWERS_BETWEEN_KILLS - FEWEST_ANSWERS_BETWEEN_KILLS;
      await moreAnswers(FEWEST_ANSWERS_BETWEEN_KILLS + Math.floor(random() * range));
      // Every other one comes in the moment of an answer, to each verb in turn: nothing may be missing that was just
      // acknowledged. The others come at any moment of a statement, where its fate is open.
      if (kill % 2 === 0) await pause(random() * LONGEST_MOMENT_MS);
      else await nextAnswer(VERBS[((kill - 1) / 2) % VERBS.length]!);
      await postgres.kill();
      say(`kill ${kill} after ${acknowledged.answers} answers`);
      await postgres.start();
      // By themselves, through the same pool.
      await moreAnswers(count);
    }
    await finish();
    await ledger.close();

    const open = new Map<string, { used: number; held: number }>();
    for (const [key, facts] of acknowledged.holds) {
      const organizationId = key.slice(0, key.indexOf('/'));
      const sum = open.get(organizationId) ?? { used: 0, held: 0 };
      sum.used += facts.captured - Object.values(facts.refunds).reduce((all, tokens) => all + tokens, 0);
      sum.held += facts.state === 'held' ? facts.amount - facts.captured : 0;
      open.set(organizationId, sum);
    }
    const atLast = await balances();
    const { holds, ...counts } = acknowledged;
    return {
      ...counts,
      differences: differences(holds, await holdFacts(postgres.superuser)),
      balances: [...atLast].flatMap(([organizationId, { available, held }]) => {
        const { used, held: mustBeHeld } = open.get(organizationId) ?? { used: 0, held: 0 };
        const mustBe = { available: atFirst.get(organizationId)!.available - used - mustBeHeld, held: mustBeHeld };
        return available === mustBe.available && held === mustBe.held
          ? []
          : [{ organizationId, available, held, mustBe }];
      }),
      findings: await verify(postgres.superuser),
      unhandledRejections,
      connections: { open: pool.totalCount, idle: pool.idleCount, waiting: pool.waitingCount },
    };
  } finally {
    await pool.end();
    await postgres.remove();
    process.off('unhandledRejection', onUnhandled);
  }

  async function balances(): Promise<Map<string, { available: number; held: number }>> {
    const { rows } = await postgres.superuser.query(
      `select b.organization_id, b.available, b.held from tollgate.balances b where b.token_type = 'lead_generation'`,
    );
    return new Map(rows.map(({ organization_id, ...balance }) => [organization_id, balance]));
  }
}
