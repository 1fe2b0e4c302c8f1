import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TOKENS_PATH } from '../contract/tokens.ts';
import { createPool } from '../db/pool.ts';
import { startAuthStandIn } from '../dev/authStandIn.ts';
import { startPostgres } from '../dev/embeddedPostgres.ts';
import { freePort } from '../dev/ports.ts';
import { spawnService } from '../dev/serviceProcess.ts';
import { createTollgateDatabase } from '../dev/tollgateDatabase.ts';
import { FOIL_PATH } from './checkServer.ts';
import type { Figure, Knobs } from './figure.ts';

const ORGANIZATIONS = 1_000;
/** Callers that deduct without a pause while the checks are measured. */
const LOAD_CALLERS = 8;

/** How long one check takes a lone caller, on an idle API and beside deductions; the foil is one plain select instead. */
export async function benchCheck({ isQuick, say }: Knobs): Promise<Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-bench-'));
  const postgres = await startPostgres({ dataDirectory: join(folder, 'postgres') });
  const auth = await startAuthStandIn();
  const stops = [() => rm(folder, { recursive: true, force: true }), () => postgres.stop(), () => auth.stop()];
  try {
    const urls = await createTollgateDatabase({
      superuserUrl: postgres.superuserUrl,
      database: 'tollgate',
      passwords: { owner: 'owner', api: 'api', worker: 'worker', auditor: 'auditor' },
    });
    await fill(urls.superuser);
    const port = await freePort();
    const server = await spawnService({
      name: 'bench/checkServer.ts',
      command: process.execPath,
      args: [fileURLToPath(new URL('checkServer.ts', import.meta.url))],
      env: {
        PATH: process.env.PATH,
        DATABASE_URL: urls.api,
        TEMPORAL_ADDRESS: '127.0.0.1:1',
        SUPABASE_URL: auth.url,
        SUPABASE_JWT_SECRET: auth.jwtSecret,
        API_PORT: `${port}`,
      },
      logFile: join(folder, 'server.log'),
      readyUrl: `http://127.0.0.1:${port}/healthz`,
    });
    stops.push(() => server.stop());

    const caller = await createCaller(port, (userId) => auth.issueToken({ userId, algorithm: 'HS256' }));
    const rounds = isQuick ? 4 : 12;
    const requests = isQuick ? 500 : 2_000;
    say(
      `PostgreSQL with fsync on, ${ORGANIZATIONS} organizations, ${rounds} rounds of ${requests} checks each, product and foil in turns`,
    );
    const figures = await measure(caller, 'idle', { rounds, requests, say });
    const load = caller.load();
    const loaded = await measure(caller, `beside ${LOAD_CALLERS} deducting`, { rounds, requests: requests / 4, say });
    say(`${await load.stop()} deductions were made meanwhile`);
    return [...figures, ...loaded];
  } finally {
    for (const stop of stops.reverse()) await stop();
  }
}

async function fill(superuserUrl: string): Promise<void> {
  const superuser = createPool({ url: superuserUrl, applicationName: 'tollgate-bench' });
  await superuser.query(
    `insert into organizations (id, name, plan) select 'org-' || n, 'Org', 'enterprise' from generate_series(1, $1::integer) n`,
    [ORGANIZATIONS],
  );
  await superuser.query(
    `insert into user_profiles (id, organization_id) select 'user-' || o.id, o.id from organizations o`,
  );
  await superuser.query('update ai_tokens set balance = 1000000000');
  await superuser.query(`
    create table foil_tokens (organization_id text, token_type text, balance bigint, primary key (organization_id, token_type));
    insert into foil_tokens select organization_id, token_type, balance from ai_tokens;
    grant select on foil_tokens to tollgate_api`);
  await superuser.query('analyze');
  await superuser.end();
}

type Caller = Awaited<ReturnType<typeof createCaller>>;

async function createCaller(port: number, issue: (userId: string) => Promise<string>) {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const organizations = Array.from({ length: ORGANIZATIONS }, (_, n) => `org-${n + 1}`);
  const tokens = new Map<string, string>();
  for (const id of organizations) tokens.set(id, await issue(`user-${id}`));

  function post(path: string, action: 'check' | 'deduct', n: number): Promise<string> {
    const organizationId = organizations[n % ORGANIZATIONS]!;
    const body = JSON.stringify({ organizationId, featureUsed: 'generate_goal', action });
    return new Promise((resolve, reject) => {
      const sent = request({
        port,
        host: '127.0.0.1',
        path,
        agent,
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
          Authorization: `Bearer ${tokens.get(organizationId)}`,
        },
      });
      sent.on('error', reject).on('response', (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (part) => {
          text += part;
        });
        response.on('end', () =>
          response.statusCode === 200 ? resolve(text) : reject(new Error(`${response.statusCode}: ${text}`)),
        );
      });
      sent.end(body);
    });
  }

  return {
    /** The time of each of `requests` checks, one after the other, in milliseconds. */
    async time(path: string, requests: number): Promise<number[]> {
      const times: number[] = [];
      for (let n = 0; n < requests; n++) {
        const began = performance.now();
        const answer = await post(path, 'check', n * 7);
        times.push(performance.now() - began);
        if (answer !== '{"hasTokens":true}') throw new Error(`a check answered ${answer}`);
      }
      return times;
    },

    load() {
      let isOver = false;
      let made = 0;
      const callers = Array.from({ length: LOAD_CALLERS }, async (_, caller) => {
        for (let n = caller; !isOver; n += LOAD_CALLERS) {
          await post(`${TOKENS_PATH}/check-balance`, 'deduct', n);
          made += 1;
        }
      });
      return {
        stop: async () => {
          isOver = true;
          await Promise.all(callers);
          return made;
        },
      };
    },
  };
}

async function measure(
  caller: Caller,
  condition: string,
  { rounds, requests, say }: { rounds: number; requests: number; say: (line: string) => void },
): Promise<Figure[]> {
  const paths = { product: `${TOKENS_PATH}/check-balance`, foil: FOIL_PATH };
  // Once for the compilers and the plans.
  for (const path of Object.values(paths)) await caller.time(path, requests);
  const times = { product: [] as number[], foil: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? (['product', 'foil'] as const) : (['foil', 'product'] as const);
    for (const side of order) times[side].push(...(await caller.time(paths[side], requests)));
    if ((round + 1) % 4 === 0) say(`${condition}: round ${round + 1} of ${rounds}`);
  }
  return [50, 99].map((percent): Figure => {
    const [product, foil] = [percentile(times.product, percent), percentile(times.foil, percent)];
    return { name: `p${percent}, ${condition}`, unit: 'ms', product, foil, ratio: foil / product };
  });
}

function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil((sorted.length * percent) / 100) - 1] ?? Number.NaN;
}
