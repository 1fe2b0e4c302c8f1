import { setTimeout as pause } from 'node:timers/promises';
import type { BenchDatabase } from '../databases.ts';
import { type Figure, figureAlone } from '../figure.ts';
import { openOurs } from '../ours.ts';
import { percentile } from '../quantiles.ts';
import { type Bench, CALLERS, HOT, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import type { Side } from '../side.ts';
import { readTrace, synthesizeTrace, type TracedRequest } from '../trace.ts';

const SPEED_UP = 60;
const SEED = 2023;
/** How long the model takes for a token, before the speed-up: a hold stays open as long as its work takes. */
const MS_PER_TOKEN = 15;

/** What the requests of the trace are held at and settled at; a token of the model costs one of ours. */
interface Metering {
  requests: TracedRequest[];
  /** The context, and the longest answer that the service ever gives. */
  maximumOf(request: TracedRequest): number;
  trueUseOf(request: TracedRequest): number;
}

/**
 * A production trace as a metered service would bill it: each request is held at its maximum and settled at its true use,
 * at 60x real time and as fast as it goes. In the end what was charged is exactly what the trace adds up to.
 */
export async function traceReplay(bench: Bench): Promise<Measured> {
  const { traceFile, say } = bench;
  const requests = traceFile ? await readTrace(traceFile) : synthesizeTrace(SEED);
  const minutes = (requests.at(-1)!.atMs / 60_000).toFixed(0);
  say(`${requests.length} requests within ${minutes} minutes, ${traceFile ? 'read' : `synthetic, seed ${SEED}`}`);
  const longest = Math.max(...requests.map((request) => request.generatedTokens));
  const metering: Metering = {
    requests,
    maximumOf: ({ contextTokens }) => contextTokens + longest,
    trueUseOf: ({ contextTokens, generatedTokens }) => contextTokens + generatedTokens,
  };
  return {
    figures: [
      ...(await replay(bench, metering, '60x', `at ${SPEED_UP}x real time`, inItsTime)),
      ...(await replay(bench, metering, 'full', `as fast as ${CALLERS} callers can`, atFullSpeed)),
    ],
  };
}

type Run = (bench: Bench, side: Side, metering: Metering) => Promise<{ holds: number[]; captures: number[] }>;

async function replay(bench: Bench, metering: Metering, id: string, how: string, run: Run): Promise<Figure[]> {
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  const side = openOurs(database.urls.api);
  const before = await readBooks(database);
  const began = performance.now();
  const { holds, captures } = await run(bench, side, metering);
  const seconds = (performance.now() - began) / 1_000;
  const after = await readBooks(database);
  await side.close();
  await database.verify();
  await database.drop();

  const used = metering.requests.reduce((sum, request) => sum + metering.trueUseOf(request), 0);
  const drift = Math.max(
    Math.abs(before.available - after.available - used),
    Math.abs(after.logged - before.logged - used),
    after.held,
  );
  const count = metering.requests.length;
  const traceName = bench.traceFile ? 'production trace' : 'synthetic trace';
  bench.say(`${how}: ${count} requests in ${seconds.toFixed(1)} s, ${used} tokens used, drift ${drift}`);
  const alone = (name: string, title: string, unit: string, ours: number) =>
    figureAlone({ id: `trace-${id}-${name}`, title: `${traceName} ${how}: ${title}`, unit, ours });
  return [
    figureAlone({
      ...{ id: `trace-${id}-drift`, title: `${traceName} ${how}: drift`, unit: 'tokens', ours: drift },
      goal: { of: 'ours', atMost: 0 },
    }),
    alone('hold-p99', 'hold, p99', 'ms', percentile(holds, 99)),
    alone('capture-p99', 'capture, p99', 'ms', percentile(captures, 99)),
    alone('rate', 'requests', '/s', count / seconds),
  ];
}

/** Each request when it came, whatever became of those before it. A hold's time counts from that moment: a late start is ours too. */
const inItsTime: Run = async ({ say }, side, metering) => {
  const { requests } = metering;
  const holds: number[] = [];
  const captures: number[] = [];
  const began = performance.now();
  const inFlight: Promise<void>[] = [];
  for (const [n, request] of requests.entries()) {
    const due = began + request.atMs / SPEED_UP;
    const early = due - performance.now();
    if (early > 0) await pause(early);
    if (n % 1_000 === 0) say(`request ${n} of ${requests.length}, ${((due - began) / 1_000).toFixed(0)} s`);
    inFlight.push(meter(request, due));
  }
  await Promise.all(inFlight);
  return { holds, captures };

  async function meter(request: TracedRequest, due: number): Promise<void> {
    const holdId = await side.hold(HOT, metering.maximumOf(request));
    holds.push(performance.now() - due);
    await pause((request.generatedTokens * MS_PER_TOKEN) / SPEED_UP);
    const asked = performance.now();
    await side.capture(HOT, holdId, metering.trueUseOf(request));
    captures.push(performance.now() - asked);
  }
};

const atFullSpeed: Run = async (_, side, metering) => {
  const holds: number[] = [];
  const captures: number[] = [];
  const left = metering.requests.values();
  await Promise.all(
    Array.from({ length: CALLERS }, async () => {
      for (const request of left) {
        const asked = performance.now();
        const holdId = await side.hold(HOT, metering.maximumOf(request));
        const held = performance.now();
        await side.capture(HOT, holdId, metering.trueUseOf(request));
        holds.push(held - asked);
        captures.push(performance.now() - held);
      }
    }),
  );
  return { holds, captures };
};

/** By what users of the SQL interface see, not by our own tables. */
async function readBooks({ superuser }: BenchDatabase): Promise<{ available: number; held: number; logged: number }> {
  const { rows } = await superuser.query(
    `select (select t.balance from public.ai_tokens t where t.organization_id = $1 and t.token_type = 'goal_generation') as available,
            (select b.held from tollgate.balances b where b.organization_id = $1 and b.token_type = 'goal_generation') as held,
            (select coalesce(sum(u.tokens_deducted), 0) from public.ai_token_usage_log u where u.organization_id = $1) as logged`,
    [HOT],
  );
  const { available, held, logged } = rows[0];
  return { available: Number(available), held: Number(held), logged: Number(logged) };
}
