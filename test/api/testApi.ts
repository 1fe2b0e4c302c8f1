import { AssertionError } from 'node:assert';
import { type KeyObject, randomUUID } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { Hono } from 'hono';
import { pino } from 'pino';
import { inject } from 'vitest';
import { createApp } from '../../api/app.ts';
import { createJobWaiters, type JobWaiters } from '../../api/jobWaiters.ts';
import { createJobWorkflows } from '../../api/jobWorkflows.ts';
import type { Authentication } from '../../api/middleware/authenticated.ts';
import { createRateLimits, type RateLimitConfig } from '../../api/rateLimits.ts';
import type { ApiEnv } from '../../api/requestContext.ts';
import { LIMITS, serve } from '../../api/server.ts';
import type { Sessions } from '../../api/sessions.ts';
import { PROBLEMS, type ProblemCode, problem as problemSchema } from '../../contract/problems.ts';
import { createCoalescer } from '../../db/coalescer.ts';
import { createCredentials } from '../../db/credentials.ts';
import { beginJob, commitJob, storeResult } from '../../db/jobs.ts';
import { createKeyUse } from '../../db/keyUse.ts';
import { createPool } from '../../db/pool.ts';
import type { TestDatabase } from '../support/database.ts';
import type { TestOrganization } from '../support/organization.ts';

export interface Reply {
  status: number;
  headers: Headers;
  text: string;
  // biome-ignore lint/suspicious/noExplicitAny: JSON from outside; each test says what it expects of it
  body: any;
}

export interface Ask {
  method?: string;
  /** Sent as a bearer key. */
  key?: string;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  body?: string | Uint8Array<ArrayBuffer>;
  signal?: AbortSignal;
}

export type TestApi = Awaited<ReturnType<typeof startTestApi>>;

export interface TestApiOptions {
  databaseUrl?: string;
  temporalAddress?: string;
  /** That of a worker, where jobs are to be done. */
  taskQueue?: string;
  deadlineMs?: number;
  mostWaiters?: number;
  maxQueued?: number;
  holdMs?: number;
  limits?: Partial<typeof LIMITS>;
  queryTimeoutMs?: number;
  signingKey?: KeyObject;
  rateLimits?: Partial<RateLimitConfig>;
  /** Without one nobody can sign in. */
  sessions?: Sessions;
  /** Routes that stand before the real ones: mistakes that a test must catch. */
  plant?: (routes: Hono<ApiEnv>, authentication: Authentication) => void;
}

/** The API as `main.ts` builds it, in this process, over real HTTP. */
export async function startTestApi(database: Pick<TestDatabase, 'apiUrl'>, options: TestApiOptions = {}) {
  const logLines: string[] = [];
  const log = pino({ level: 'debug' }, { write: (line: string) => void logLines.push(line) });
  const pool = createPool({
    url: options.databaseUrl ?? database.apiUrl,
    applicationName: 'tollgate-api-test',
    ...(options.queryTimeoutMs === undefined ? {} : { queryTimeoutMs: options.queryTimeoutMs }),
  });
  const workflows = createJobWorkflows({
    address: options.temporalAddress ?? inject('temporalAddress'),
    namespace: 'default',
    // Nobody polls it, unless it is another's: a workflow that is started stays as it is.
    taskQueue: options.taskQueue ?? `test-${randomUUID()}`,
    ...(options.deadlineMs === undefined ? {} : { deadlineMs: options.deadlineMs }),
  });
  const waiters: JobWaiters = createJobWaiters({
    pool,
    log,
    ...(options.mostWaiters === undefined ? {} : { mostWaiters: options.mostWaiters }),
  });
  const ledger = createCoalescer(pool, options.maxQueued === undefined ? {} : { maxQueued: options.maxQueued });
  const keyUse = createKeyUse(pool, { onError: (error) => log.warn({ err: error }) });
  let isDraining = false;
  const sessions: Sessions = options.sessions ?? { verify: async () => ({ outcome: 'refused' }) };
  const rateLimits = {
    RATE_LIMIT_PER_CALLER: 1_000_000,
    RATE_LIMIT_PER_ORGANIZATION: 1_000_000,
    RATE_LIMIT_FAILURES_PER_ADDRESS: 1_000_000,
    FORWARDED_HOPS: 0,
    ...options.rateLimits,
  };
  const app = new Hono<ApiEnv>();
  const credentials = createCredentials(pool, keyUse);
  options.plant?.(app, { pool, sessions, credentials, log, limits: createRateLimits(rateLimits) });
  const real = createApp({
    pool,
    ledger,
    sessions,
    credentials,
    workflows,
    waiters,
    config: {
      ADMISSION_HOLD_MS: options.holdMs ?? 60_000,
      JOB_TIME_BUDGET_MS: 60_000,
      LEDGER_SIGNING_KEY: options.signingKey,
      ...rateLimits,
    },
    log,
    isDraining: () => isDraining,
  });
  const server = await serve(options.plant === undefined ? real : app.route('/', real), {
    host: '127.0.0.1',
    port: 0,
    limits: { ...LIMITS, ...options.limits },
  });

  const call = async (path: string, { method, key, headers, json, body, signal }: Ask = {}): Promise<Reply> => {
    const response = await fetch(new URL(path, server.url), {
      method: method ?? (json === undefined && body === undefined ? 'GET' : 'POST'),
      headers: {
        ...(key === undefined ? {} : { Authorization: `Bearer ${key}` }),
        ...(json === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(body === undefined ? {} : { body, duplex: 'half' }),
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await response.text();
    const isJson = /[/+]json\b/.test(response.headers.get('content-type') ?? '');
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : null };
  };
  return {
    app: real,
    url: server.url,
    pool,
    waiters,
    keyUse,
    logLines,
    call,
    /** Asks for a job, under a new key unless one is given. */
    post: (organization: TestOrganization, json: unknown = GOAL, idempotencyKey: string = randomUUID()) =>
      call('/api/v1/jobs', { key: organization.secret, json, headers: { 'Idempotency-Key': idempotencyKey } }),
    drain: () => {
      isDraining = true;
      waiters.drain();
    },
    close: async () => {
      waiters.drain();
      await server.close(1_000);
      await ledger.close();
      await Promise.all([pool.end(), workflows.close()]);
    },
  };
}

/** A request that costs 3 goal_generation tokens, of which the pro plan brings 20. */
export const GOAL = { feature: 'generate_goal', input: { industry: 'logistics', horizonMonths: 12 } } as const;

/** Does to a job what its workflow would: it runs, delivers and is charged. */
export async function runToTheEnd(database: TestDatabase, organizationId: string, jobId: string): Promise<void> {
  await beginJob(database.worker, organizationId, jobId);
  await storeResult(database.worker, organizationId, jobId, { title: 'Ship faster' }, { totalTokens: 42 });
  await commitJob(database.worker, organizationId, jobId);
}

/** Checks that a reply is this problem, in the form of the catalogue, and answers its body. */
export function expectProblem(reply: Reply, code: ProblemCode) {
  const { data: body, error } = problemSchema.safeParse(reply.body);
  if (error) throw new AssertionError({ message: `expected ${code}, got ${reply.status}: ${reply.text}` });
  const seen = { status: reply.status, code: body.code, type: reply.headers.get('content-type') };
  const wanted = { status: PROBLEMS[code].status, code, type: 'application/problem+json' };
  if (JSON.stringify(seen) !== JSON.stringify(wanted)) {
    throw new AssertionError({
      message: `expected ${JSON.stringify(wanted)}, got ${reply.status}: ${reply.text}`,
    });
  }
  if (reply.headers.get('x-request-id') !== body.requestId)
    throw new Error('the request id is not the one of the header');
  return body;
}

/** Everything that a request could have left behind for an organization. */
export async function traces(database: Pick<TestDatabase, 'superuser'>, organizationId: string) {
  const { rows } = await database.superuser.query(
    `select (select count(*)::int from tollgate.jobs j where j.organization_id = $1) as jobs,
            (select count(*)::int from tollgate.holds h where h.organization_id = $1) as holds,
            (select count(*)::int from tollgate.idempotency_records r where r.organization_id = $1) as records,
            (select count(*)::int from tollgate.ledger_entries e where e.organization_id = $1) as entries,
            (select count(*)::int from tollgate.outbox o where o.organization_id = $1) as outbox,
            (select jsonb_object_agg(b.token_type, jsonb_build_array(b.available, b.held))
               from tollgate.balances b where b.organization_id = $1) as balances`,
    [organizationId],
  );
  return rows[0];
}

/** A client of the Temporal server itself, past any proxy. */
export async function temporalClient(): Promise<Client> {
  return new Client({ connection: await Connection.connect({ address: inject('temporalAddress') }) });
}
