import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createApiKey } from '../db/apiKeys.ts';
import { createPool } from '../db/pool.ts';
import { verify } from '../db/verify.ts';
import { jobWorkflowId } from '../domain/ids.ts';
import { DemoApp, type JobAnswer } from './demoApp.ts';
import { Expectation, type Feature, type TokenType } from './demoExpectation.ts';
import { endWithNpm } from './endWithNpm.ts';
import { type Stack, startStack } from './stack.ts';

/**
 * `npm run demo`: the main job, once, through HTTP, on a stack of its own that is gone afterwards. Everything shown is
 * compared with what it must be, which is counted apart from the product (demoExpectation.ts). Exit 0 only if all agree.
 */

const FEATURES: readonly Feature[] = [
  'generate_leads',
  'generate_goal',
  'analyze_strategy',
  'forecast_revenue',
  'generate_insight',
];

const INPUTS: Record<Feature, Record<string, unknown>> = {
  generate_leads: { industry: 'logistics', region: 'Northern Europe', count: 2 },
  generate_goal: { industry: 'logistics', horizonMonths: 12 },
  analyze_strategy: { strategy: 'Sell to those who buy already.' },
  forecast_revenue: { product: 'Crates', currency: 'EUR', monthlyRevenue: [1000, 1100, 1200], months: 3 },
  generate_insight: { topic: 'late deliveries' },
};

const began = performance.now();
const say = (line: string) => console.log(line);
let failures = 0;
let stack: Stack | undefined;

const interrupted = () => {
  const end = () => process.exit(130);
  (stack?.stop() ?? Promise.resolve()).then(end, end);
};
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupted);
endWithNpm(interrupted);

try {
  await main();
} catch (error) {
  failures += 1;
  console.error(error instanceof Error ? error.stack : error);
} finally {
  await stack?.stop();
}
say('');
say(
  failures === 0
    ? `Everything is as it must be. ${seconds()}`
    : `${failures} thing${failures === 1 ? ' is' : 's are'} not as ${failures === 1 ? 'it' : 'they'} must be. ${seconds()}`,
);
process.exit(failures === 0 ? 0 : 1);

async function main(): Promise<void> {
  say('Tollgate demo: paid AI operations, charged exactly once or given back.');
  say('');
  say('Starting PostgreSQL, Temporal, a stand-in for the AI provider, the API and a worker');
  const stateDirectory = await mkdtemp(join(tmpdir(), 'tollgate-demo-'));
  stack = await startStack({ stateDirectory, ports: 'free', ephemeral: true, say: (line) => say(`  ${line}`) });
  const { urls } = stack;
  if (urls.databases.superuser === undefined || urls.databases.auditor === undefined) {
    throw new Error('The demo makes organizations by SQL and needs the embedded PostgreSQL: unset DATABASE_URL.');
  }
  const superuser = createPool({ url: urls.databases.superuser, applicationName: 'tollgate-demo' });
  const auditor = createPool({ url: urls.databases.auditor, applicationName: 'tollgate-demo' });
  try {
    await story(stack, superuser, auditor);
  } finally {
    await superuser.end();
    await auditor.end();
  }
}

async function story(stack: Stack, superuser: ReturnType<typeof createPool>, auditor: ReturnType<typeof createPool>) {
  const app = async (organizationId: string, plan: string) => {
    await superuser.query('insert into public.organizations (id, name, plan) values ($1, $1, $2)', [
      organizationId,
      plan,
    ]);
    const key = await createApiKey(superuser, { organizationId, name: 'demo', scopes: ['jobs:read', 'jobs:write'] });
    return new DemoApp(stack.urls.api, stack.urls.ai, organizationId, key.secret);
  };
  const acme = await app('acme', 'pro');
  const corner = await app('corner-shop', 'starter');
  const spent = await app('spent-up', 'pro');
  await superuser.query(
    "update public.ai_tokens set balance = 2 where organization_id = 'spent-up' and token_type = 'goal_generation'",
  );
  const expected = new Expectation();
  const workflows: { title: string; jobId: string }[] = [];
  const before = await balances(superuser, 'acme');
  check('acme starts with the allowance of plan pro', before, expected.balances());

  say('');
  say('A job of each feature');
  const first = await Promise.all(FEATURES.map((feature) => acme.run(feature, INPUTS[feature])));
  for (const job of first) {
    expected.charge(job.feature);
    check(`${job.feature} is charged ${expected.priceOf(job.feature)}`, ending(job), [
      'charged',
      expected.priceOf(job.feature),
    ]);
    workflows.push({ title: job.feature, jobId: job.id });
  }

  say('');
  say('Failures of the provider');
  const refused = await acme.run('generate_goal', directed('generate_goal', 'refuse'));
  check('an operation that fails for good is refunded', ending(refused), ['refunded', 'operation_failed']);
  workflows.push({ title: 'failed for good', jobId: refused.id });
  const stubborn = await acme.run('generate_goal', directed('generate_goal', 'fail 500 x2'));
  expected.charge('generate_goal');
  check('one that fails twice and then works is charged once', ending(stubborn), ['charged', 3]);
  check('… after three calls to the provider', (await acme.providerCalls(stubborn.id)).length, 3);
  workflows.push({ title: 'failed twice', jobId: stubborn.id });

  say('');
  say('Refusals');
  const blocked = await corner.post('generate_goal', INPUTS.generate_goal);
  check(
    'a starter organization is told that its plan lacks the feature',
    [blocked.status, blocked.body.code],
    [403, 'feature_not_available'],
  );
  const broke = await spent.post('generate_goal', INPUTS.generate_goal);
  check(
    'an organization with 2 tokens cannot buy a goal for 3',
    [broke.status, broke.body.code],
    [402, 'tokens_insufficient'],
  );
  check('… and still has its 2 tokens', (await balances(superuser, 'spent-up')).goal_generation, 2);

  say('');
  say('The same Idempotency-Key twice');
  const key = 'demo-same-key';
  const once = await acme.post('generate_insight', INPUTS.generate_insight, key);
  const again = await acme.post('generate_insight', INPUTS.generate_insight, key);
  expected.charge('generate_insight');
  check('both answers are the same job, word for word', JSON.stringify(again.body), JSON.stringify(once.body));
  check('… the second is marked as a replay', again.headers.get('idempotent-replayed'), 'true');
  check('… and it is charged once', ending(await acme.ended(String(once.body.id))), ['charged', 1]);

  say('');
  say('A cancellation in mid-operation');
  const doomed = await acme.post('generate_leads', directed('generate_leads', 'hold'));
  const doomedId = String(doomed.body.id);
  await until('the call to reach the provider', async () => (await acme.providerCalls(doomedId)).length === 1);
  check('the cancellation is accepted', (await acme.cancel(doomedId)).status, 202);
  const cancelled = await acme.ended(doomedId);
  check('the job is refunded', ending(cancelled), ['refunded', 'cancelled']);
  const [call] = await acme.providerCalls(doomedId);
  check(
    '… after the call had ended',
    call?.endedAt != null && Date.parse(call.endedAt) <= Date.parse(cancelled.endedAt ?? '') + 50,
    true,
  );
  workflows.push({ title: 'cancelled', jobId: doomedId });

  say('');
  say('kill -9 of the worker in mid-operation');
  const orphan = await acme.post('forecast_revenue', directed('forecast_revenue', 'hold'));
  const orphanId = String(orphan.body.id);
  await until('the call to reach the provider', async () => (await acme.providerCalls(orphanId)).length === 1);
  const pid = stack.pids().worker;
  check(`worker ${pid} is killed`, stack.kill('worker', 'SIGKILL'), true);
  await stack.restarted('worker');
  say(`    another worker, ${stack.pids().worker}, has taken its place ${seconds()}`);
  await until(
    'the second attempt to reach the provider',
    async () => (await acme.providerCalls(orphanId)).length === 2,
  );
  await acme.releaseProvider();
  expected.charge('forecast_revenue');
  check('the job is charged once', ending(await acme.ended(orphanId)), ['charged', 4]);
  const keys = new Set((await acme.providerCalls(orphanId)).map((one) => one.idempotencyKey));
  check('… and the provider saw one idempotency key in both attempts', keys.size, 1);
  workflows.push({ title: 'survived kill -9', jobId: orphanId });

  say('');
  say('Balances of acme');
  const after = await balances(superuser, 'acme');
  say(`    ${'token type'.padEnd(20)}${'before'.padStart(8)}${'after'.padStart(8)}${'must be'.padStart(9)}`);
  for (const [tokenType, amount] of Object.entries(expected.balances())) {
    say(
      `    ${tokenType.padEnd(20)}${pad(before[tokenType as TokenType])}${pad(after[tokenType as TokenType])}${String(amount).padStart(9)}`,
    );
  }
  check('every balance is what it must be', after, expected.balances());
  const { rows: usage } = await superuser.query(
    "select coalesce(sum(u.tokens_deducted), 0)::int as tokens, count(*)::int as charges from public.ai_token_usage_log u where u.organization_id = 'acme'",
  );
  check('the usage log adds up to the same', usage[0], expected.usage());

  say('');
  say('Ledger of acme, goal_generation');
  const { rows: entries } = await superuser.query(
    `select e.entry_number, e.kind, e.amount, e.available_after, e.held_after, e.actor
       from tollgate.ledger_entries e
      where e.organization_id = 'acme' and e.token_type = 'goal_generation' order by e.entry_number`,
  );
  say(
    `    ${'no.'.padStart(4)}  ${'entry'.padEnd(9)}${'amount'.padStart(7)}${'available'.padStart(11)}${'held'.padStart(6)}  by`,
  );
  for (const e of entries) {
    say(
      `    ${String(e.entry_number).padStart(4)}  ${e.kind.padEnd(9)}${String(e.amount).padStart(7)}${String(e.available_after).padStart(11)}${String(e.held_after).padStart(6)}  ${e.actor.replace(/^(job|key):.*/, 'the $1')}`,
    );
  }

  if (stack.urls.temporalUi !== undefined) {
    say('');
    say('In the Temporal UI (while this runs; `npm start` keeps one up)');
    for (const { title, jobId } of workflows) {
      say(
        `    ${title.padEnd(18)} ${stack.urls.temporalUi}/namespaces/default/workflows/${encodeURIComponent(jobWorkflowId('acme', jobId))}`,
      );
    }
  }

  say('');
  say('verify');
  const findings = await verify(auditor);
  check('the invariants hold on this database', findings, []);
}

function check(what: string, is: unknown, mustBe: unknown): void {
  const [left, right] = [JSON.stringify(is), JSON.stringify(mustBe)];
  if (left === right) {
    say(`  ✓ ${what} ${seconds()}`);
    return;
  }
  failures += 1;
  say(`  ✗ ${what}: it is ${left}, and must be ${right}`);
}

/** How a job ended, in two words: the state, then what was charged or why not. */
function ending(job: JobAnswer): [string, number | string | null] {
  return [job.state, job.state === 'charged' ? job.tokens : (job.end?.code ?? null)];
}

/** The feature's input with a wish to the stand-in in it. */
function directed(feature: Feature, directive: string): Record<string, unknown> {
  const [field, text] = Object.entries(INPUTS[feature]).find(([, value]) => typeof value === 'string') ?? [];
  return { ...INPUTS[feature], [String(field)]: `${text} [[stand-in: ${directive}]]` };
}

async function balances(
  superuser: ReturnType<typeof createPool>,
  organizationId: string,
): Promise<Record<TokenType, number>> {
  const { rows } = await superuser.query(
    'select t.token_type, t.balance from public.ai_tokens t where t.organization_id = $1',
    [organizationId],
  );
  const found = new Map(rows.map((row) => [row.token_type, row.balance]));
  return Object.fromEntries(Object.keys(new Expectation().balances()).map((type) => [type, found.get(type)])) as Record<
    TokenType,
    number
  >;
}

async function until(what: string, ask: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + 60_000;
  while (!(await ask())) {
    if (Date.now() > giveUpAt) throw new Error(`Waited a minute for ${what}.`);
    await pause(50);
  }
}

function seconds(): string {
  return `(${((performance.now() - began) / 1000).toFixed(1)} s)`;
}

function pad(amount: number): string {
  return String(amount).padStart(8);
}
