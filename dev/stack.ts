import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { apiConfig, assertConfiguration, workerConfig } from '../config.ts';
import { migrate, type RolePasswords } from '../migrations/migrate.ts';
import { STAND_IN_KEY, STAND_IN_MODEL } from './aiStandIn.ts';
import { type DatabaseUrls, databaseUrls } from './databaseUrls.ts';
import {
  DEVELOPMENT_ORGANIZATION,
  type DevelopmentKey,
  ensureDevelopmentOperator,
  ensureDevelopmentOrganization,
} from './developmentOrganization.ts';
import { type PostgresServer, startPostgres } from './embeddedPostgres.ts';
import { spawnService } from './serviceProcess.ts';
import { createStateDirectory, readStackState, type StackPorts, type StackState } from './stackState.ts';
import { lockState } from './stateLock.ts';
import { type RunningPart, type SupervisedPart, supervise } from './supervisor.ts';
import { findTemporalBinary } from './temporalBinary.ts';
import { startTemporalServer } from './temporalServer.ts';
import { createTollgateDatabase } from './tollgateDatabase.ts';

export type StackPart = 'postgres' | 'temporal' | 'standIn' | 'authStandIn' | 'api' | 'worker';

export interface StackUrls {
  api: string;
  /** Absent with a Temporal of the user's own. */
  temporalUi?: string;
  /** host:port */
  temporal: string;
  temporalNamespace: string;
  /** One per role; of a PostgreSQL of the user's own, those that its variables name. */
  databases: Pick<DatabaseUrls, 'owner' | 'api' | 'worker'> & Partial<DatabaseUrls>;
  /** Of the AI provider, real or stand-in. */
  ai: string;
  /** Of the sign-in service, real or stand-in. */
  auth: string;
}

export interface Stack {
  urls: StackUrls;
  organizationId: string;
  developmentKey: DevelopmentKey;
  /** Null in a database of the user's own: who operates that is his to say (`npm run operator`). */
  operatorCredential: string | null;
  /** Of the parts that this stack runs itself, as of now. */
  pids(): Partial<Record<StackPart, number>>;
  /** False when the part is being started again at this moment. */
  kill(part: StackPart, signal: NodeJS.Signals): boolean;
  /** Resolves once the part is up and ready after the last `kill` of it; without one, after its next restart. */
  restarted(part: StackPart): Promise<void>;
  /** Ends every part in order: those that use others first. */
  stop(): Promise<void>;
}

export interface StackOptions {
  /** Ports, passwords, data and logs are kept here. */
  stateDirectory: string;
  /** 'free' asks the kernel each time. Otherwise those of last time, else these, else free ones. */
  ports?: 'free' | Partial<StackPorts>;
  /** Gets one line per step, with the time since the start. */
  say: (line: string) => void;
  /** Nothing is to survive: no fsync, and `stop` removes the folder. What was acknowledged still survives a kill -9. */
  ephemeral?: boolean;
  /** Of PostgreSQL. */
  settings?: Readonly<Record<string, string>>;
  /** DATABASE_URL, TEMPORAL_ADDRESS, AI_BASE_URL and SUPABASE_URL in it replace a part by a service of the user's own. */
  env?: NodeJS.ProcessEnv;
}

/**
 * Puts together everything that Tollgate needs and Tollgate itself, on loopback, from what npm has installed. Every part
 * is supervised: one that dies is started again. All die with this process, however it ends.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const stateDirectory = resolve(options.stateDirectory);
  const env = options.env ?? process.env;
  const configured = configuredPorts(env);
  const began = performance.now();
  const say = (line: string) =>
    options.say(`${((performance.now() - began) / 1_000).toFixed(1).padStart(5)} s  ${line}`);
  await createStateDirectory(stateDirectory);
  const unlock = await lockState(stateDirectory);
  const parts = new Map<StackPart, SupervisedPart>();
  const stop = async () => {
    await stopInOrder(parts);
    await unlock();
    if (options.ephemeral) await rm(stateDirectory, { recursive: true, force: true });
  };
  try {
    const state = await readStackState(stateDirectory, options.ports ?? {}, say, configured);
    const building: Building = { options, env, stateDirectory, state, parts, say };
    const { urls, developmentKey, operatorCredential } = await build(building);
    return {
      urls,
      organizationId: DEVELOPMENT_ORGANIZATION.id,
      developmentKey,
      operatorCredential,
      pids: () => Object.fromEntries([...parts].map(([name, part]) => [name, part.pid()])),
      kill: (name, signal) => ownPart(parts, name).kill(signal),
      restarted: (name) => ownPart(parts, name).restarted(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * The ports that the environment names, after a look at everything else in it: what the processes would refuse is said
 * here, for all of them at once and before anything runs. What the stack supplies itself is taken as given.
 */
function configuredPorts(env: NodeJS.ProcessEnv): Partial<StackPorts> {
  assertConfiguration([apiConfig, workerConfig], {
    ...env,
    DATABASE_URL: env.DATABASE_URL || 'postgres://embedded/tollgate',
    TEMPORAL_ADDRESS: env.TEMPORAL_ADDRESS || 'embedded:7233',
    ...(env.AI_BASE_URL ? {} : { AI_BASE_URL: 'http://stand-in', AI_API_KEY: STAND_IN_KEY, AI_MODEL: STAND_IN_MODEL }),
    ...(env.SUPABASE_URL || env.NEXT_PUBLIC_SUPABASE_URL
      ? {}
      : { SUPABASE_URL: 'http://stand-in', SUPABASE_JWT_SECRET: '' }),
  });
  const { API_PORT: api, WORKER_HEALTH_PORT: workerHealth } = env;
  return {
    ...(api ? { api: Number(api) } : {}),
    ...(workerHealth ? { workerHealth: Number(workerHealth) } : {}),
  };
}

interface Building {
  options: StackOptions;
  env: NodeJS.ProcessEnv;
  stateDirectory: string;
  state: StackState;
  /** Filled as parts come up, so that a start that fails half-way stops them. */
  parts: Map<StackPart, SupervisedPart>;
  say: (line: string) => void;
}

async function build(building: Building): Promise<Pick<Stack, 'urls' | 'developmentKey' | 'operatorCredential'>> {
  const [databases, temporal, ai, signIn] = await allOrNothing([
    prepareDatabase(building),
    prepareTemporal(building),
    prepareAi(building),
    prepareSignIn(building),
  ]);
  const developmentKey = await ensureDevelopmentOrganization({
    adminUrl: databases.superuser ?? databases.owner,
    apiUrl: databases.api,
    keyFile: join(building.stateDirectory, 'development-key'),
    // In a database of the user's own, users are his own.
    hasMember: databases.superuser !== undefined,
  });
  const operatorCredential =
    databases.superuser === undefined
      ? null
      : await ensureDevelopmentOperator({
          adminUrl: databases.superuser,
          apiUrl: databases.api,
          credentialFile: join(building.stateDirectory, 'development-operator'),
        });
  building.say(`Organization ${DEVELOPMENT_ORGANIZATION.id} on plan ${DEVELOPMENT_ORGANIZATION.plan}, with a key`);
  const api = await startOurOwn(building, { databases, temporal, ai, signIn });
  return {
    urls: {
      api,
      temporal: temporal.address,
      temporalNamespace: temporal.namespace,
      ...(temporal.uiUrl ? { temporalUi: temporal.uiUrl } : {}),
      databases,
      ai: ai.baseUrl,
      auth: signIn.SUPABASE_URL,
    },
    developmentKey,
    operatorCredential,
  };
}

/** Like Promise.all, but waits for the others when one has failed: what they started must be known before it is stopped. */
async function allOrNothing<T extends readonly unknown[]>(work: { [K in keyof T]: Promise<T[K]> }): Promise<T> {
  await Promise.allSettled(work);
  return (await Promise.all(work)) as unknown as T;
}

async function prepareDatabase(building: Building): Promise<StackUrls['databases']> {
  const { options, env, stateDirectory, state, say } = building;
  const external = externalDatabase(env);
  if (external) {
    await migrate({
      ownerUrl: external.urls.owner,
      ...(external.passwords ? { rolePasswords: external.passwords } : {}),
    });
    say('PostgreSQL: the one of DATABASE_URL, migrated');
    return external.urls;
  }
  let postgres!: PostgresServer;
  await keepUp(building, 'postgres', 'PostgreSQL', async () => {
    postgres = await startPostgres({
      dataDirectory: join(stateDirectory, 'postgres'),
      port: state.ports.postgres,
      settings: { ...(options.ephemeral ? { fsync: 'off' } : {}), ...options.settings },
      logFile: join(stateDirectory, 'logs', 'postgres.log'),
    });
    return postgres;
  });
  say(`PostgreSQL on 127.0.0.1:${state.ports.postgres}`);
  const urls = await createTollgateDatabase({
    superuserUrl: postgres.superuserUrl,
    database: 'tollgate',
    passwords: state.passwords,
  });
  say('Database tollgate, migrated');
  return urls;
}

/**
 * A PostgreSQL of the user's own, with the variables that the processes and `npm run migrate` have there too. The API
 * logs in by DATABASE_URL; the worker by its own role where that has been given a password, else like the API.
 */
function externalDatabase(
  env: NodeJS.ProcessEnv,
): { urls: StackUrls['databases']; passwords: RolePasswords | undefined } | undefined {
  const { DATABASE_URL: url, DATABASE_OWNER_URL: owner } = env;
  if (!url && !owner) return undefined;
  if (!url || !owner) {
    throw new Error(
      'Set both DATABASE_URL (the login that Tollgate runs with) and DATABASE_OWNER_URL (the login that migrates), or neither for an embedded PostgreSQL.',
    );
  }
  const { TOLLGATE_API_PASSWORD: api, TOLLGATE_WORKER_PASSWORD: worker, TOLLGATE_AUDITOR_PASSWORD: auditor } = env;
  if (!api || !worker || !auditor) return { urls: { owner, api: url, worker: url }, passwords: undefined };
  const logins = databaseUrls(url, { owner: '', api, worker, auditor });
  return {
    urls: { owner, api: url, worker: logins.worker, auditor: logins.auditor },
    passwords: { tollgate_api: api, tollgate_worker: worker, tollgate_auditor: auditor },
  };
}

interface Temporal {
  address: string;
  namespace: string;
  uiUrl?: string;
}

async function prepareTemporal(building: Building): Promise<Temporal> {
  const { env, stateDirectory, state, say } = building;
  if (env.TEMPORAL_ADDRESS) {
    const namespace = env.TEMPORAL_NAMESPACE || 'default';
    say(`Temporal: the one of TEMPORAL_ADDRESS, namespace ${namespace}`);
    return { address: env.TEMPORAL_ADDRESS, namespace };
  }
  const { temporal: port, temporalUi: uiPort } = state.ports;
  const { path: binary } = await findTemporalBinary({ env, say });
  await keepUp(building, 'temporal', 'Temporal', () =>
    startTemporalServer({
      binary,
      port,
      uiPort,
      databaseFile: join(stateDirectory, 'temporal.db'),
      logFile: join(stateDirectory, 'logs', 'temporal.log'),
      say,
    }),
  );
  say(`Temporal on 127.0.0.1:${port}`);
  return { address: `127.0.0.1:${port}`, namespace: 'default', uiUrl: `http://127.0.0.1:${uiPort}` };
}

interface Ai {
  baseUrl: string;
  apiKey: string;
  model: string;
}

async function prepareAi(building: Building): Promise<Ai> {
  const { env, state, say } = building;
  if (env.AI_BASE_URL) {
    say(`AI provider: the one of AI_BASE_URL, ${env.AI_BASE_URL}`);
    return { baseUrl: env.AI_BASE_URL, apiKey: env.AI_API_KEY ?? '', model: env.AI_MODEL ?? '' };
  }
  const port = state.ports.standIn;
  const ai = { baseUrl: `http://127.0.0.1:${port}/v1`, apiKey: STAND_IN_KEY, model: STAND_IN_MODEL };
  await keepUp(building, 'standIn', 'The AI stand-in', () =>
    startOurProcess(building, 'standIn', 'dev/aiStandIn.ts', `${ai.baseUrl}/models`, { AI_STAND_IN_PORT: `${port}` }),
  );
  say(`AI stand-in on 127.0.0.1:${port}`);
  return ai;
}

/** As the API is configured with it. */
interface SignIn {
  SUPABASE_URL: string;
  SUPABASE_JWT_SECRET?: string;
}

async function prepareSignIn(building: Building): Promise<SignIn> {
  const { env, state, say } = building;
  const url = env.SUPABASE_URL || env.NEXT_PUBLIC_SUPABASE_URL;
  if (url) {
    say(`Sign-in: the one of SUPABASE_URL, ${url}`);
    return { SUPABASE_URL: url };
  }
  const port = state.ports.authStandIn;
  const signIn = { SUPABASE_URL: `http://127.0.0.1:${port}`, SUPABASE_JWT_SECRET: state.sessionSecret };
  await keepUp(building, 'authStandIn', 'The sign-in stand-in', () =>
    startOurProcess(
      building,
      'authStandIn',
      'dev/authStandIn.ts',
      `${signIn.SUPABASE_URL}/auth/v1/.well-known/jwks.json`,
      { AUTH_STAND_IN_PORT: `${port}`, AUTH_STAND_IN_SECRET: state.sessionSecret },
    ),
  );
  say(`Sign-in stand-in on 127.0.0.1:${port}`);
  return signIn;
}

interface Services {
  databases: StackUrls['databases'];
  temporal: Temporal;
  ai: Ai;
  signIn: SignIn;
}

/** The API and the worker. They are configured by the environment alone, here as anywhere. */
async function startOurOwn(building: Building, { databases, temporal, ai, signIn }: Services): Promise<string> {
  const { ports } = building.state;
  const configuration = {
    TEMPORAL_ADDRESS: temporal.address,
    TEMPORAL_NAMESPACE: temporal.namespace,
    AI_BASE_URL: ai.baseUrl,
    AI_API_KEY: ai.apiKey,
    AI_MODEL: ai.model,
    ...signIn,
    API_HOST: '127.0.0.1',
    API_PORT: `${ports.api}`,
    WORKER_HEALTH_PORT: `${ports.workerHealth}`,
    LOG_LEVEL: building.env.LOG_LEVEL || 'info',
  };
  const start = (part: 'api' | 'worker', name: string, port: number, databaseUrl: string) =>
    keepUp(building, part, name, () =>
      startOurProcess(building, part, `${part}/main.ts`, `http://127.0.0.1:${port}/readyz`, {
        ...configuration,
        DATABASE_URL: databaseUrl,
      }),
    );
  await allOrNothing([
    start('api', 'The API', ports.api, databases.api),
    start('worker', 'The worker', ports.workerHealth, databases.worker),
  ]);
  building.say('API and worker are ready');
  return `http://127.0.0.1:${ports.api}`;
}

function startOurProcess(
  { env, stateDirectory }: Building,
  part: StackPart,
  entryPoint: string,
  readyUrl: string,
  configuration: NodeJS.ProcessEnv,
): Promise<RunningPart> {
  // The owner's login is for migrations; what serves requests must not be able to find it.
  const { DATABASE_OWNER_URL: _, ...inherited } = env;
  return spawnService({
    name: entryPoint,
    command: process.execPath,
    args: [entryPoint],
    cwd: PROJECT,
    env: { ...inherited, ...configuration },
    logFile: join(stateDirectory, 'logs', `${part}.log`),
    readyUrl,
  });
}

const PROJECT = fileURLToPath(new URL('..', import.meta.url));

async function keepUp(
  { parts, say }: Building,
  part: StackPart,
  name: string,
  start: () => Promise<RunningPart>,
): Promise<void> {
  parts.set(part, await supervise({ name, start, say }));
}

function ownPart(parts: Building['parts'], name: StackPart): SupervisedPart {
  const part = parts.get(name);
  if (!part) throw new Error(`This stack does not run ${name} itself: the environment names a service to use instead.`);
  return part;
}

/** The worker and the API may still need the others to finish what they have begun; PostgreSQL is needed by all. */
const STOP_ORDER: readonly (readonly StackPart[])[] = [
  ['api', 'worker'],
  ['temporal', 'standIn', 'authStandIn'],
  ['postgres'],
];

async function stopInOrder(parts: Building['parts']): Promise<void> {
  const failures: unknown[] = [];
  for (const together of STOP_ORDER) {
    const stops = await Promise.allSettled(together.map((name) => parts.get(name)?.stop()));
    for (const stop of stops) if (stop.status === 'rejected') failures.push(stop.reason);
  }
  if (failures.length > 0) throw new AggregateError(failures, 'Some parts of the stack could not be stopped.');
}
