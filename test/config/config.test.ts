import { spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import * as configuration from '../../config.ts';

const { apiConfig, ConfigurationError, migrateConfig, readConfig, verifyConfig, workerConfig } = configuration;
const PROJECT = fileURLToPath(new URL('../..', import.meta.url));

/** Read by dev/ and the tests, which have no schema: they work without a single variable. */
const OF_DEV_AND_TESTS = [
  'TEMPORAL_CLI_PATH',
  'TEMPORAL_TEST_SERVER_PATH',
  'TEMPORAL_CLI_DOWNLOAD_URL',
  'TOLLGATE_TEST_POSTGRES_BIN',
  'AI_STAND_IN_PORT',
  'AUTH_STAND_IN_PORT',
  'AUTH_STAND_IN_SECRET',
];

const API = { DATABASE_URL: 'postgres://tollgate_api:x@127.0.0.1:5432/tollgate', TEMPORAL_ADDRESS: '127.0.0.1:7233' };
const WORKER = { ...API, AI_BASE_URL: 'https://ai.example/v1', AI_API_KEY: 'k', AI_MODEL: 'm' };

const KEYS = { ed25519: keyTexts('ed25519'), x25519: keyTexts('x25519') };

function keyTexts(type: 'ed25519' | 'x25519') {
  const { privateKey, publicKey } = generateKeyPairSync(type as 'ed25519');
  return {
    pem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    base64: privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64'),
    publicPem: publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  };
}

describe('readConfig', () => {
  test('gives every variable that has a default its default', () => {
    expect(readConfig(apiConfig, API)).toEqual({
      ...API,
      LOG_LEVEL: 'info',
      DATABASE_MAX_CONNECTIONS: 10,
      TEMPORAL_NAMESPACE: 'default',
      TEMPORAL_TASK_QUEUE: 'tollgate',
      API_HOST: '127.0.0.1',
      API_PORT: 8080,
      ADMISSION_HOLD_MS: 60_000,
      JOB_TIME_BUDGET_MS: 75_000,
      RATE_LIMIT_PER_CALLER: 10_000,
      RATE_LIMIT_PER_ORGANIZATION: 20_000,
      RATE_LIMIT_FAILURES_PER_ADDRESS: 300,
      FORWARDED_HOPS: 0,
    });
  });

  test('lists every problem at once, each with its variable', () => {
    const wrong = {
      DATABASE_URL: 'mysql://u:p@h/d',
      TEMPORAL_ADDRESS: 'http://temporal',
      DATABASE_MAX_CONNECTIONS: '0',
      LOG_LEVEL: 'loud',
      WORKER_HEALTH_PORT: '65536',
      AI_BASE_URL: 'ftp://ai',
      ORPHAN_SWEEP_INTERVAL_MS: 'soon',
    };
    const said = problemsOf(workerConfig, wrong);
    const named = said.split('\n').flatMap((line) => /^ {2}([A-Z_]+)(:| is not set)/.exec(line)?.[1] ?? []);
    expect(named.sort()).toEqual([...Object.keys(wrong), 'AI_API_KEY', 'AI_MODEL'].sort());
    expect(said).toContain('  AI_MODEL is not set');
    expect(said).toContain('.env.example');
  });

  test.each(Object.entries(schemas()))('never repeats a value: %s', (_name, schema) => {
    // Wrong for everything but a free text, whatever it is checked for; each its own, so that none hides another.
    const wrong = Object.fromEntries(Object.keys(schema.shape).map((name, n) => [name, `hunter2 -${n}- /secret`]));
    const said = problemsOf(schema, wrong);
    expect(said).toContain('DATABASE_');
    expect(said).not.toMatch(/hunter2|secret/);
  });

  test('counts an empty variable as not set', () => {
    expect(problemsOf(apiConfig, { ...API, DATABASE_URL: '' })).toContain('DATABASE_URL is not set');
    expect(readConfig(apiConfig, { ...API, API_PORT: '', LOG_LEVEL: '' })).toMatchObject({
      API_PORT: 8080,
      LOG_LEVEL: 'info',
    });
    expect(readConfig(migrateConfig, { DATABASE_OWNER_URL: API.DATABASE_URL, TOLLGATE_API_PASSWORD: '' })).toEqual({
      DATABASE_OWNER_URL: API.DATABASE_URL,
    });
  });

  test.each([
    [{ DATABASE_URL: 'postgresql://h/d' }],
    [{ TEMPORAL_ADDRESS: 'ns.acct.tmprl.cloud:7233' }],
    [{ API_PORT: '0' }],
    [{ JOB_TIME_BUDGET_MS: '1' }],
    [{ LEDGER_SIGNING_KEY: KEYS.ed25519.pem }],
    [{ LEDGER_SIGNING_KEY: KEYS.ed25519.pem.replaceAll('\n', '\\n') }],
    [{ LEDGER_SIGNING_KEY: KEYS.ed25519.base64 }],
  ])('takes %o', (given) => {
    expect(() => readConfig(apiConfig, { ...API, ...given })).not.toThrow();
  });

  test.each([
    [{ DATABASE_URL: 'postgres' }],
    [{ TEMPORAL_ADDRESS: 'temporal' }],
    [{ API_PORT: '80.5' }],
    [{ API_PORT: '-1' }],
    [{ JOB_TIME_BUDGET_MS: '0' }],
    [{ DATABASE_MAX_CONNECTIONS: '501' }],
    [{ TEMPORAL_ADDRESS: '127.0.0.1:99999' }],
    [{ ADMISSION_HOLD_MS: '86400001' }],
    [{ JOB_TIME_BUDGET_MS: '99999999999999' }],
    [{ SUPABASE_URL: 'supabase' }],
    [{ LEDGER_SIGNING_KEY: 'secret' }],
    [{ LEDGER_SIGNING_KEY: KEYS.x25519.pem }],
    [{ LEDGER_SIGNING_KEY: KEYS.x25519.base64 }],
    [{ LEDGER_SIGNING_KEY: KEYS.ed25519.publicPem }],
    [{ SUPABASE_ANON_KEY: 'two\nlines' }],
    [{ NEXT_PUBLIC_SUPABASE_ANON_KEY: 'two words' }],
    [{ SUPABASE_JWT_SECRET: 'x'.repeat(31), SUPABASE_URL: 'https://x.supabase.co' }],
  ])('refuses %o', (given) => {
    expect(problemsOf(apiConfig, { ...API, ...given })).toContain(Object.keys(given)[0]);
  });

  test('a secret of sign-in without the project that it is of is told, and an origin loses its slash', () => {
    expect(problemsOf(apiConfig, { ...API, SUPABASE_JWT_SECRET: 'x'.repeat(32) })).toContain(
      '  SUPABASE_URL: is needed with SUPABASE_JWT_SECRET',
    );
    expect(readConfig(apiConfig, { ...API, SUPABASE_URL: 'https://x.supabase.co/' }).SUPABASE_URL).toBe(
      'https://x.supabase.co',
    );
  });

  test('reads an environment that is right for the worker', () => {
    expect(readConfig(workerConfig, WORKER)).toMatchObject({ ...WORKER, WORKER_HEALTH_PORT: 8081 });
    expect(() => readConfig(verifyConfig, { DATABASE_AUDITOR_URL: API.DATABASE_URL })).not.toThrow();
  });
});

describe('.env.example', () => {
  test('names exactly the variables that are read, each once', async () => {
    const read = Object.values(schemas()).flatMap((schema) => Object.keys(schema.shape));
    const named = (await envExample()).map(([name]) => name);
    expect(named.sort()).toEqual([...new Set(read), ...OF_DEV_AND_TESTS].sort());
  });

  test('gives values that can work', async () => {
    const example = Object.fromEntries(await envExample());
    for (const schema of Object.values(schemas())) expect(() => readConfig(schema, example)).not.toThrow();
  });

  test('shows the defaults where there are any', async () => {
    const example = Object.fromEntries(await envExample());
    const defaults = { ...readConfig(apiConfig, API), ...readConfig(workerConfig, WORKER) };
    for (const name of Object.keys({ ...API, ...WORKER })) delete (defaults as Record<string, unknown>)[name];
    expect(example).toMatchObject(
      Object.fromEntries(Object.entries(defaults).map(([name, value]) => [name, `${value}`])),
    );
  });
});

describe.each([
  ['api/main.ts', apiConfig, ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'API_PORT', 'LOG_LEVEL']],
  [
    'worker/main.ts',
    workerConfig,
    ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'LOG_LEVEL', 'AI_BASE_URL', 'AI_API_KEY', 'AI_MODEL'],
  ],
])('%s', (entryPoint, schema, problems) => {
  test('ends with 1 and every problem on standard error, and no value', async () => {
    const environment = {
      DATABASE_URL: 'mysql://user:hunter2@h/d',
      API_PORT: 'hunter2',
      LOG_LEVEL: 'hunter2',
      AI_API_KEY: '',
    };
    const { code, stdout, stderr } = await run(entryPoint, environment);
    expect(code).toBe(1);
    expect(stdout).toBe('');
    expect(stderr.trimEnd()).toBe(problemsOf(schema, environment));
    for (const name of problems) expect(stderr).toContain(`  ${name}`);
    expect(stderr).not.toContain('hunter2');
  });
});

/** Every schema that config.ts exports, those of tomorrow too. */
function schemas(): Record<string, z.ZodObject> {
  const found: Record<string, z.ZodObject> = {};
  for (const [name, exported] of Object.entries(configuration)) {
    if (exported instanceof z.ZodObject) found[name] = exported as z.ZodObject;
  }
  return found;
}

function problemsOf(schema: z.ZodType, environment: NodeJS.ProcessEnv): string {
  try {
    readConfig(schema, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigurationError);
    return (error as Error).message;
  }
  throw new Error('No problem was found.');
}

async function envExample(): Promise<[string, string][]> {
  const lines = (await readFile(`${PROJECT}.env.example`, 'utf8')).split('\n');
  return lines
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name, value] = /^([A-Z_]+)=(.*)$/.exec(line) ?? [];
      if (name === undefined) throw new Error(`.env.example: "${line}" is neither a comment nor NAME=value.`);
      return [name, value ?? ''];
    });
}

function run(
  entryPoint: string,
  environment: NodeJS.ProcessEnv,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [entryPoint], {
      cwd: PROJECT,
      env: { PATH: process.env.PATH, ...environment },
      timeout: 15_000,
    });
    const said = { stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said.stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said.stderr += text;
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, ...said }));
  });
}
