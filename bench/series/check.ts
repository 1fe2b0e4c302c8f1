import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TOKENS_PATH } from '../../contract/tokens.ts';
import { startAuthStandIn } from '../../dev/authStandIn.ts';
import { freePort } from '../../dev/ports.ts';
import { spawnService } from '../../dev/serviceProcess.ts';
import { BARE_PATH, FOIL_PATH } from '../checkServer.ts';
import type { BenchDatabase } from '../databases.ts';
import { type Figure, figureOf } from '../figure.ts';
import { startHoldLoad } from '../holdLoad.ts';
import { type HttpCaller, openHttpCaller, postOf } from '../httpCaller.ts';
import { inTurns, type Round, runFor, type SideName } from '../rounds.ts';
import { type Bench, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import { pairsOf, roundText } from '../throughput.ts';

/** Enough to keep both servers busy; more would wait in line and change nothing but the latency. */
const CONCURRENT_CHECKS = 64;

/**
 * The balance check over HTTP: as many as it can against Hono with one indexed select; then a lone caller against the same
 * route with one plain select, on an idle system and beside the full hold load of another process.
 */
export async function check(bench: Bench): Promise<Measured> {
  const { isQuick, say } = bench;
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  const auth = await startAuthStandIn();
  const server = await startServer(bench, database, auth);
  const asker = await createAsker(server, database.organizations, (userId) =>
    auth.issueToken({ userId, algorithm: 'HS256' }),
  );
  try {
    const concurrent = await compareConcurrent(bench, asker, 'bare');
    const sameRoute = await compareConcurrent(bench, asker, 'sameRoute');
    const idle = await compareLone(bench, asker, 'idle');
    const load = await startHoldLoad(database.urls.api);
    const loaded = await compareLone(bench, asker, 'beside the holds');
    const { perSecond } = await load.stop();
    say(`${Math.round(perSecond)} holds/s were placed meanwhile`);
    const besideItself = loaded.map((pair, round) => ({ ours: pair.ours.p99, foil: idle[round]!.ours.p99 }));
    return {
      figures: [
        figureOf({
          ...{
            id: 'check-rate',
            title: `balance checks over HTTP, ${CONCURRENT_CHECKS} callers (foil: Hono, one select)`,
          },
          ...{ unit: '/s', pairs: pairsOf(concurrent, 'perSecond'), goal: { of: 'ratio', atLeast: 2 }, isQuick },
        }),
        figureOf({
          ...{
            id: 'check-rate-same-route',
            title: `balance checks over HTTP, ${CONCURRENT_CHECKS} callers (foil: same route, one select)`,
          },
          ...{ unit: '/s', pairs: pairsOf(sameRoute, 'perSecond'), goal: { of: 'ratio', atLeast: 1 }, isQuick },
        }),
        ...figuresOfLone('idle', idle, isQuick),
        ...figuresOfLone('beside full hold load', loaded, isQuick),
        figureOf({
          ...{ id: 'check-p99-load-over-idle', title: 'check, p99 beside full hold load (foil: own p99 when idle)' },
          ...{ unit: 'ms', pairs: besideItself, goal: { of: 'ratio', atMost: 2 }, isQuick },
        }),
      ],
    };
  } finally {
    asker.close();
    await server.stop();
    await auth.stop();
    await database.verify();
    await database.drop();
  }
}

function figuresOfLone(condition: string, pairs: Record<SideName, Round>[], isQuick: boolean): Figure[] {
  return (['p50', 'p99'] as const).map((quantity) =>
    figureOf({
      id: `check-${quantity}-${condition === 'idle' ? 'idle' : 'loaded'}`,
      title: `check, lone caller, ${quantity}, ${condition} (foil: same route, one select)`,
      unit: 'ms',
      pairs: pairsOf(pairs, quantity),
      ...(condition === 'idle' && quantity === 'p99' ? { goal: { of: 'ours', atMost: 10 } } : {}),
      isQuick,
    }),
  );
}

async function compareConcurrent(
  { isQuick, say }: Bench,
  asker: Asker,
  foil: 'bare' | 'sameRoute',
): Promise<Record<SideName, Round>[]> {
  const [rounds, roundMs] = isQuick ? [3, 1_000] : [7, 2_000];
  const measure = (side: SideName, forMs: number) =>
    runFor({ callers: CONCURRENT_CHECKS, forMs, work: asker.checkOf(side === 'ours' ? 'product' : foil) });
  for (const side of ['ours', 'foil'] as const) await measure(side, 1_000);
  return inTurns(
    rounds,
    (side) => measure(side, roundMs),
    (pair, round) => say(`${CONCURRENT_CHECKS} callers, ${foil}, round ${round + 1} of ${rounds}: ${roundText(pair)}`),
  );
}

async function compareLone({ isQuick, say }: Bench, asker: Asker, condition: string) {
  const [rounds, forMs] = isQuick ? [3, 700] : [7, 1_000];
  const measure = (side: SideName) =>
    runFor({ callers: 1, forMs, work: asker.checkOf(side === 'ours' ? 'product' : 'sameRoute') });
  for (const side of ['ours', 'foil'] as const) await measure(side);
  return inTurns(rounds, measure, (pair, round) =>
    say(`lone, ${condition}, round ${round + 1} of ${rounds}: ${roundText(pair)}`),
  );
}

interface CheckServer {
  port: number;
  barePort: number;
  stop(): Promise<void>;
}

async function startServer(
  { databases }: Bench,
  database: BenchDatabase,
  auth: { url: string; jwtSecret: string },
): Promise<CheckServer> {
  const [port, barePort] = [await freePort(), await freePort()];
  const service = await spawnService({
    name: 'bench/checkServer.ts',
    command: process.execPath,
    args: [fileURLToPath(new URL('../checkServer.ts', import.meta.url))],
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: database.urls.api,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      SUPABASE_URL: auth.url,
      SUPABASE_JWT_SECRET: auth.jwtSecret,
      API_PORT: `${port}`,
      BARE_PORT: `${barePort}`,
    },
    logFile: join(databases.folder, 'server.log'),
    readyUrl: `http://127.0.0.1:${port}/healthz`,
  });
  return { port, barePort, stop: async () => void (await service.stop()) };
}

type Asker = Awaited<ReturnType<typeof createAsker>>;

/** Connections to both servers, and a request of each organization's member for each path, made beforehand. */
async function createAsker(
  { port, barePort }: CheckServer,
  organizations: readonly string[],
  issue: (userId: string) => Promise<string>,
) {
  const requests = { product: [] as Buffer[], sameRoute: [] as Buffer[], bare: [] as Buffer[] };
  for (const organizationId of organizations) {
    const headers = { Authorization: `Bearer ${await issue(`user-${organizationId}`)}` };
    const body = { organizationId, featureUsed: 'generate_goal', action: 'check' };
    requests.product.push(postOf({ path: `${TOKENS_PATH}/check-balance`, body, headers }));
    requests.sameRoute.push(postOf({ path: FOIL_PATH, body, headers }));
    requests.bare.push(postOf({ path: BARE_PATH, body, headers }));
  }
  const open = (to: number) => Promise.all(Array.from({ length: CONCURRENT_CHECKS }, () => openHttpCaller(to)));
  const api = await open(port);
  const free = { product: api, sameRoute: api, bare: await open(barePort) };

  return {
    checkOf: (path: keyof typeof requests) => async (n: number) => {
      const caller: HttpCaller = free[path].pop()!;
      const answer = await caller.ask(requests[path][(n * 7) % organizations.length]!);
      if (answer !== '{"hasTokens":true}') throw new Error(`a check answered ${answer}`);
      free[path].push(caller);
    },
    close: () => {
      for (const caller of [...free.product, ...free.bare]) caller.close();
    },
  };
}
