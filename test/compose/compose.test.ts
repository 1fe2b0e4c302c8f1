import { spawn } from 'node:child_process';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { z } from 'zod';
import { apiConfig, migrateConfig, readConfig, workerConfig } from '../../config.ts';
import { type AiStandIn, startAiStandIn } from '../../dev/aiStandIn.ts';
import { type PostgresServer, startPostgres } from '../../dev/embeddedPostgres.ts';
import { freePort } from '../../dev/ports.ts';
import { spawnService } from '../../dev/serviceProcess.ts';
import type { RunningPart } from '../../dev/supervisor.ts';
import { findTemporalBinary } from '../../dev/temporalBinary.ts';
import { SEARCH_ATTRIBUTES } from '../../domain/searchAttributes.ts';
import { interpolate, PROJECT, readCompose, readEnvFile, readProjectFile, variablesOf } from './composeFile.ts';

/**
 * No container is started here: most machines that run the tests have no Docker. What the containers are told is, as
 * plain processes: the init script, the namespace job, and migrate, api and worker with exactly their environments.
 */

const services = readCompose();
const OURS = { migrate: migrateConfig, api: apiConfig, worker: workerConfig };
const PACKAGE = JSON.parse(readProjectFile('package.json')) as { version: string; dependencies: { node: string } };

describe('docker-compose.yml', () => {
  test('pins every image to an exact version', () => {
    for (const { image } of Object.values(services)) expect(image).toMatch(/^[a-z/-]+:\d+\.\d+(\.\d+)?(-[a-z]+)?$/);
    for (const name of Object.keys(OURS)) expect(services[name]?.image).toBe(`tollgate:${PACKAGE.version}`);
    const temporalVersion = services.temporal?.image.split(':')[1];
    for (const job of ['temporal-schema', 'temporal-namespace']) {
      expect(services[job]?.image).toBe(`temporalio/admin-tools:${temporalVersion}`);
    }
  });

  test.each(Object.entries(OURS))(
    'gives %s variables that config.ts knows, and all that it requires',
    (name, schema) => {
      const { environment } = services[name]!;
      expect(Object.keys(schema.shape)).toEqual(expect.arrayContaining(Object.keys(environment)));
      expect(() => readConfig(schema, resolved(environment, filledIn()))).not.toThrow();
      const required = Object.keys(schema.shape).filter(
        (key) => !(schema.shape as Record<string, z.ZodType>)[key]!.isOptional(),
      );
      expect(Object.keys(environment)).toEqual(expect.arrayContaining(required));
    },
  );

  test('lets API and worker meet: same namespace, same task queue, same Temporal', () => {
    const meeting = (name: string) => {
      const { TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TASK_QUEUE } = services[name]!.environment;
      return { TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_TASK_QUEUE };
    };
    expect(meeting('api')).toEqual(meeting('worker'));
    expect(services['temporal-namespace']?.environment.TEMPORAL_NAMESPACE).toBe(meeting('api').TEMPORAL_NAMESPACE);
  });

  test('registers the search attributes of domain/searchAttributes.ts, no more and no less', () => {
    const [script] = services['temporal-namespace']!.command;
    const registered = [...script!.matchAll(/^patiently attribute (\w+) (\w+)$/gm)].map(([, name, type]) => [
      name,
      type!.toUpperCase(),
    ]);
    expect(Object.fromEntries(registered)).toEqual(SEARCH_ATTRIBUTES);
  });

  test('requires every password, and .env.docker.example names every variable but gives no secret', () => {
    const variables = variablesOf(readProjectFile('docker-compose.yml'));
    const example = readEnvFile('.env.docker.example');
    expect(Object.keys(example).sort()).toEqual([...new Set(variables.map(({ name }) => name))].sort());
    for (const { name, isRequired } of variables) {
      if (!/PASSWORD|_KEY$/.test(name)) continue;
      expect([name, isRequired, example[name]]).toEqual([name, true, '']);
    }
    for (const { environment } of Object.values(services)) {
      for (const [name, value] of Object.entries(environment)) {
        if (/PASSWORD|PWD|_KEY$|DATABASE.*URL/.test(name))
          expect([name, value]).toEqual([name, expect.stringContaining(':?')]);
      }
    }
  });

  test('opens no port to other machines', () => {
    const ports = Object.values(services).flatMap((service) => service.ports);
    expect(ports).toHaveLength(4);
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/);
  });

  test('starts each service after what it needs, and restarts it', () => {
    for (const [name, { restart, dependsOn }] of Object.entries(services)) {
      expect([name, restart]).toEqual([name, expect.stringMatching(/^(unless-stopped|on-failure:5)$/)]);
      for (const [needed, condition] of Object.entries(dependsOn)) {
        const isJob = services[needed]!.restart === 'on-failure:5';
        expect([needed, condition]).toEqual([needed, isJob ? 'service_completed_successfully' : 'service_healthy']);
        expect([needed, isJob || services[needed]!.hasHealthcheck]).toEqual([needed, true]);
      }
    }
    for (const name of ['api', 'worker'])
      expect(Object.keys(services[name]!.dependsOn)).toEqual(['migrate', 'temporal-namespace']);
  });
});

describe('Dockerfile', () => {
  test('has the Node of package.json, and runs as nobody in particular', () => {
    const stages = [...readProjectFile('Dockerfile').matchAll(/^FROM (\S+)/gm)].map(([, image]) => image);
    expect(new Set(stages)).toEqual(new Set([`node:${PACKAGE.dependencies.node}-bookworm-slim`]));
    expect(readProjectFile('Dockerfile')).toMatch(/^USER node$/m);
  });

  test('copies exactly what .dockerignore lets through', () => {
    const copied = [...readProjectFile('Dockerfile').matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, paths]) =>
      paths!.split(' '),
    );
    const allowed = [...readProjectFile('.dockerignore').matchAll(/^!(\S+)$/gm)].map(([, path]) => path);
    expect([...new Set(copied)].sort()).toEqual(allowed.sort());
  });
});

describe('what the containers are told works as plain processes', () => {
  let folder: string;
  let postgres: PostgresServer;
  let standIn: AiStandIn;
  const started: RunningPart[] = [];
  const namespace = `compose-${process.pid}`;
  let settings: Record<string, string>;
  let elsewhere: [string, string][];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tollgate-compose-'));
    await chmod(folder, 0o711);
    [postgres, standIn] = await Promise.all([
      startPostgres({ dataDirectory: join(folder, 'postgres'), settings: { fsync: 'off' } }),
      startAiStandIn(),
    ]);
    settings = { ...filledIn(), AI_BASE_URL: standIn.baseUrl, AI_API_KEY: standIn.apiKey, AI_MODEL: standIn.model };
    elsewhere = [
      ['postgres:5432', `127.0.0.1:${postgres.port}`],
      ['temporal:7233', inject('temporalAddress')],
    ];
  });
  afterAll(async () => {
    await Promise.all(started.map((part) => part.stop()));
    await Promise.all([standIn?.stop(), postgres?.stop()]);
    await rm(folder, { recursive: true, force: true });
  });

  /** The environment of a service as Docker would give it; only addresses and ports are this machine's. */
  const environmentOf = (name: string, own: Record<string, string> = {}) => ({
    PATH: process.env.PATH,
    ...resolved(services[name]!.environment, settings, elsewhere),
    ...own,
  });

  test('the init script, the jobs, migrate, api, worker and the first key: a job is charged', async () => {
    await runInitScript(postgres, environmentOf('postgres'));

    const temporal = await findTemporalBinary({ say: () => {} });
    const namespaceJob = () =>
      succeeds('/bin/sh', ['-euc', ...services['temporal-namespace']!.command], {
        ...environmentOf('temporal-namespace', { TEMPORAL_NAMESPACE: namespace }),
        PATH: [dirname(temporal.path), process.env.PATH].join(delimiter),
      });
    const migrate = () => runsOurs('migrate', environmentOf('migrate'));
    await Promise.all([namespaceJob(), migrate()]);
    // Each `up` runs the jobs again.
    await Promise.all([namespaceJob(), migrate()]);
    expect(await searchAttributesOf(namespace)).toMatchObject(SEARCH_ATTRIBUTES);

    const [apiPort, healthPort] = [await freePort(), await freePort()];
    const start = async (name: 'api' | 'worker', port: number, own: Record<string, string>) => {
      const [, ...args] = services[name]!.command;
      started.push(
        await spawnService({
          name,
          command: process.execPath,
          args,
          cwd: PROJECT,
          env: environmentOf(name, { TEMPORAL_NAMESPACE: namespace, ...own }),
          logFile: join(folder, `${name}.log`),
          readyUrl: `http://127.0.0.1:${port}/readyz`,
        }),
      );
    };
    await Promise.all([
      start('api', apiPort, { API_PORT: `${apiPort}` }),
      start('worker', healthPort, { WORKER_HEALTH_PORT: `${healthPort}` }),
    ]);

    await insertFirstOrganization(postgres.superuserUrl('tollgate'));
    const key = await runsOurs('migrate', environmentOf('migrate'), [
      'db/createKeyMain.ts',
      '--organization',
      'acme',
      '--name',
      'first',
    ]);
    expect(key).toMatch(/^tg_live_\S+\n$/);

    const api = `http://127.0.0.1:${apiPort}`;
    const headers = { Authorization: `Bearer ${key.trim()}` };
    const admitted = await fetch(`${api}/api/v1/jobs`, {
      method: 'POST',
      headers: { ...headers, 'Content-Type': 'application/json', 'Idempotency-Key': 'first' },
      body: JSON.stringify({ feature: 'generate_goal', input: { industry: 'bicycles', horizonMonths: 6 } }),
    });
    expect(admitted.status).toBe(202);
    const { links } = (await admitted.json()) as { links: { self: string } };
    const job = (await (await fetch(`${api}${links.self}?wait=15s`, { headers })).json()) as { state: string };
    expect(job.state).toBe('charged');
  }, 45_000);

  test('npm run key says in a sentence what is wrong', async () => {
    const key = (...args: string[]) =>
      run(process.execPath, ['db/createKeyMain.ts', ...args], environmentOf('migrate'));
    const named = ['--organization', 'nobody', '--name', 'x'];
    for (const [args, sentence] of [
      [['--name', 'x'], 'Use: npm run key'],
      [[...named, '--color', 'red'], 'Use: npm run key'],
      [[...named, '--scopes', 'jobs:read,everything'], 'There is no scope "everything"'],
      [named, 'There is no organization nobody'],
    ] as const) {
      const { code, stdout, stderr } = await key(...args);
      expect([code, stdout, stderr]).toEqual([1, '', expect.stringContaining(sentence)]);
      expect(stderr).not.toContain('    at ');
    }
    const nowhere = await run(process.execPath, ['db/createKeyMain.ts', ...named], { PATH: process.env.PATH });
    expect([nowhere.code, nowhere.stderr]).toEqual([1, expect.stringContaining('DATABASE_OWNER_URL is not set')]);
  });
});

/** .env.docker.example with a value for everything that it leaves to the operator. */
function filledIn(): Record<string, string> {
  const example = readEnvFile('.env.docker.example');
  return Object.fromEntries(
    Object.entries(example).map(([name, value]) => [name, value || `given0${name.replaceAll('_', '')}`]),
  );
}

function resolved(
  environment: Record<string, string>,
  values: Record<string, string>,
  elsewhere: [string, string][] = [],
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => {
      const given = interpolate(value, values);
      return [name, elsewhere.reduce((text, [from, to]) => text.replace(from, to), given)];
    }),
  );
}

/** With psql where there is one, as the image does; else its statements, with the variables put in as psql would. */
async function runInitScript(postgres: PostgresServer, environment: NodeJS.ProcessEnv): Promise<void> {
  const { password, hostname, port } = new URL(postgres.superuserUrl());
  const connection = { PGHOST: hostname, PGPORT: port, PGPASSWORD: decodeURIComponent(password) };
  if ((await run('psql', ['--version'], environment)).code === 0) {
    await succeeds('/bin/sh', ['docker/postgres-init.sh'], { ...environment, ...connection });
    return;
  }
  const [, sql] = /<<'SQL'\n([\s\S]*?)\nSQL\n/.exec(readProjectFile('docker/postgres-init.sh'))!;
  const variables = Object.fromEntries(
    [...sql!.matchAll(/^\\getenv (\w+) (\w+)$/gm)].map(([, own, name]) => [own, environment[name!]]),
  );
  const client = new pg.Client({ connectionString: postgres.superuserUrl() });
  await client.connect();
  for (const line of sql!.split('\n').filter((one) => !one.startsWith('\\'))) {
    await client.query(line.replace(/:'(\w+)'/g, (_, name) => pg.escapeLiteral(variables[name]!)));
  }
  await client.end();
}

async function searchAttributesOf(namespace: string): Promise<Record<string, string>> {
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    const NAMES: Record<number, string> = { 2: 'KEYWORD', 3: 'INT' };
    return Object.fromEntries(
      Object.entries(customAttributes ?? {}).map(([name, type]) => [name, NAMES[type] ?? `${type}`]),
    );
  } finally {
    await connection.close();
  }
}

/** As docs/operating/containers.md says. */
async function insertFirstOrganization(superuserUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: superuserUrl });
  await client.connect();
  await client.query('set role service_role');
  await client.query("insert into organizations (id, name, plan) values ('acme', 'Acme', 'pro')");
  await client.end();
}

/** The command of one of our services, or another one in its container. Answers its standard output. */
async function runsOurs(name: keyof typeof OURS, environment: NodeJS.ProcessEnv, args?: string[]): Promise<string> {
  const [program, ...own] = services[name]!.command;
  expect(program).toBe('node');
  return succeeds(process.execPath, args ?? own, environment);
}

async function succeeds(command: string, args: string[], environment: NodeJS.ProcessEnv): Promise<string> {
  const { code, stdout, stderr } = await run(command, args, environment);
  if (code !== 0) throw new Error(`${[command, ...args].join(' ')} ended with ${code}:\n${stdout}${stderr}`);
  return stdout;
}

function run(
  command: string,
  args: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: PROJECT, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 30_000 });
    const said = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream].setEncoding('utf8').on('data', (text: string) => {
        said[stream] += text;
      });
    }
    child.once('error', (error) => resolve({ code: null, stdout: '', stderr: error.message }));
    child.once('close', (code) => resolve({ code, ...said }));
  });
}
