import { setTimeout as pause } from 'node:timers/promises';
import { createPool } from '../db/pool.ts';
import { type Finding, verify } from '../db/verify.ts';
import { DemoApp } from './demoApp.ts';
import type { Feature } from './demoExpectation.ts';
import { seededRandom } from './seededRandom.ts';
import type { Stack, StackPart } from './stack.ts';

/**
 * Chaos: jobs in a loop while parts of the stack are killed with SIGKILL at random moments; then everything must have
 * ended within two minutes, and the books must agree. The schedule follows from the seed, which is printed.
 */
export interface ChaosOptions {
  stack: Stack;
  seed: number;
  /** How long jobs are sent and parts are killed. */
  durationMs: number;
  callers: number;
  say: (line: string) => void;
}

export interface ChaosReport {
  kills: Record<string, number>;
  /** Requests that were answered with 202: each must have ended. */
  acknowledged: number;
  /** Attempts that failed (connection lost, 503) and were repeated with the same key. */
  retries: number;
  ended: Record<string, number>;
  /** Jobs that had not ended two minutes after the last kill. */
  stuck: string[];
  /** Acknowledged jobs that the database does not know. */
  lost: string[];
  slowestEndMs: number;
  findings: Finding[];
}

const VICTIMS: readonly StackPart[] = ['worker', 'api', 'postgres', 'temporal'];
const LONGEST_SETTLEMENT_MS = 120_000;
const LONGEST_CALM_MS = 4_000;

const WISHES: readonly { feature: Feature; input: Record<string, unknown> }[] = [
  { feature: 'generate_goal', input: { industry: 'logistics', horizonMonths: 12 } },
  { feature: 'generate_goal', input: { industry: 'logistics [[stand-in: delay 800]]', horizonMonths: 12 } },
  { feature: 'generate_goal', input: { industry: 'logistics [[stand-in: fail 503 x1]]', horizonMonths: 12 } },
  { feature: 'generate_goal', input: { industry: 'logistics [[stand-in: refuse]]', horizonMonths: 12 } },
  { feature: 'analyze_strategy', input: { strategy: 'Sell to those who buy already. [[stand-in: cut x1]]' } },
  { feature: 'generate_insight', input: { topic: 'late deliveries [[stand-in: delay 2500]]' } },
];

export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const { stack, say } = options;
  const random = seededRandom(options.seed);
  say(`seed ${options.seed}`);
  const superuser = createPool({ url: stack.urls.databases.superuser!, applicationName: 'tollgate-chaos' });
  // Enough that running out is not what is tried here.
  await superuser.query('update public.ai_tokens set balance = 1000000 where organization_id = $1', [
    stack.organizationId,
  ]);

  const app = new DemoApp(stack.urls.api, stack.urls.ai, stack.organizationId, stack.developmentKey.secret);
  const acknowledged = new Set<string>();
  let retries = 0;
  const endAt = Date.now() + options.durationMs;

  const caller = async (number: number) => {
    for (let count = 0; Date.now() < endAt; count++) {
      const wish = WISHES[Math.floor(random() * WISHES.length)]!;
      const key = `chaos-${options.seed}-${number}-${count}`;
      for (;;) {
        const answer = await app.post(wish.feature, wish.input, key).catch(() => null);
        if (answer?.status === 202) {
          acknowledged.add(String(answer.body.id));
          break;
        }
        if (answer !== null && answer.status !== 503) {
          throw new Error(`POST answered ${answer.status}: ${JSON.stringify(answer.body)}`);
        }
        retries += 1;
        if (Date.now() > endAt + LONGEST_SETTLEMENT_MS) throw new Error('The API did not come back.');
        await pause(200);
      }
      await pause(50 + random() * 100);
    }
  };

  const kills: Record<string, number> = {};
  const killer = async () => {
    for (;;) {
      await pause(random() * LONGEST_CALM_MS);
      if (Date.now() > endAt) return;
      const victim = VICTIMS[Math.floor(random() * VICTIMS.length)]!;
      if (!stack.kill(victim, 'SIGKILL')) continue;
      kills[victim] = (kills[victim] ?? 0) + 1;
      say(`kill -9 ${victim}`);
    }
  };
  await Promise.all([killer(), ...Array.from({ length: options.callers }, (_, number) => caller(number))]);
  // Whoever was not killed, as may be in a short run, is never restarted.
  for (const victim of VICTIMS.filter((one) => kills[one])) await stack.restarted(victim);

  say(`${acknowledged.size} jobs were accepted; waiting until all have ended`);
  const stuck = await waitUntilAllHaveEnded(superuser, say);
  const { rows } = await superuser.query<{ id: string; state: string; ms: number }>(
    `select j.id, j.state, (extract(epoch from j.ended_at - j.created_at) * 1000)::int as ms
       from tollgate.jobs j where j.organization_id = $1 and j.ended_at is not null`,
    [stack.organizationId],
  );
  const known = new Set([...rows.map((row) => row.id), ...stuck]);
  const ended: Record<string, number> = {};
  for (const { state } of rows) ended[state] = (ended[state] ?? 0) + 1;
  const findings = await verify(superuser);
  await superuser.end();
  return {
    kills,
    acknowledged: acknowledged.size,
    retries,
    ended,
    stuck,
    lost: [...acknowledged].filter((id) => !known.has(id)),
    slowestEndMs: Math.max(0, ...rows.map((row) => row.ms)),
    findings,
  };
}

async function waitUntilAllHaveEnded(
  superuser: ReturnType<typeof createPool>,
  say: (line: string) => void,
): Promise<string[]> {
  const giveUpAt = Date.now() + LONGEST_SETTLEMENT_MS;
  let told = -1;
  for (;;) {
    const { rows } = await superuser.query<{ id: string }>('select j.id from tollgate.jobs j where j.ended_at is null');
    if (rows.length === 0 || Date.now() > giveUpAt) return rows.map((row) => row.id);
    if (rows.length !== told) say(`${rows.length} to go`);
    told = rows.length;
    await pause(1_000);
  }
}
