import { createPrivateKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';

/**
 * The environment, read once by each entry point. A wrong value stops the start with all problems listed.
 * `.env.example` documents every variable; a test holds the two together.
 */

const port = z.coerce.number().int().min(0).max(65_535);
const milliseconds = z.coerce.number().int().positive();
const DAY_MS = 86_400_000;

const databaseUrl = z.url({
  protocol: /^postgres(ql)?$/,
  error: 'must look like postgres://user:password@host:port/database',
});
const httpUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' });
const hostAndPort = z
  .string()
  .refine((text) => Number(/^[^\s/]+:(\d{1,5})$/.exec(text)?.[1] ?? 65_536) <= 65_535, 'must look like host:port');

const common = z.object({
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  DATABASE_URL: databaseUrl,
  DATABASE_MAX_CONNECTIONS: z.coerce.number().int().min(1).max(500).default(10),
  TEMPORAL_ADDRESS: hostAndPort,
  TEMPORAL_NAMESPACE: z.string().min(1).default('default'),
  TEMPORAL_TASK_QUEUE: z.string().min(1).default('tollgate'),
});

/** An origin, without the slash that people paste with it. */
const supabaseUrl = httpUrl.transform((url) => url.replace(/\/+$/, '')).optional();
const SHORTEST_SECRET_BYTES = 32;
/** It goes into a header. With a line break inside no session could be checked, and fetch would repeat it in its complaint. */
const supabaseAnonKey = z
  .string()
  .regex(/^[\x21-\x7e]+$/, 'must be printable ASCII without spaces')
  .optional();

/** A PEM, with its line breaks also written as \\n, or the base64 of the same key in DER. */
const ed25519Key = z
  .string()
  .transform((text, context): KeyObject => {
    try {
      const key = text.includes('-----')
        ? createPrivateKey(text.replaceAll('\\n', '\n'))
        : createPrivateKey({ key: Buffer.from(text, 'base64'), format: 'der', type: 'pkcs8' });
      if (key.asymmetricKeyType === 'ed25519') return key;
    } catch {
      // Said below, without the parser's own words.
    }
    context.addIssue({ code: 'custom', message: 'must be an Ed25519 private key: PKCS8, as base64 or PEM' });
    return z.NEVER;
  })
  .optional();

export const apiConfig = common
  .extend({
    API_HOST: z.string().min(1).default('127.0.0.1'),
    API_PORT: port.default(8080),
    /** How long tokens stay set aside for a job whose workflow has not begun. */
    ADMISSION_HOLD_MS: milliseconds.max(DAY_MS).default(60_000),
    /** How long a job's operation may take in all, retries included. */
    JOB_TIME_BUDGET_MS: milliseconds.max(30 * DAY_MS).default(75_000),
    /** Requests in 10 s, to this process, of one key or user, and of all of an organization. */
    RATE_LIMIT_PER_CALLER: z.coerce.number().int().positive().default(10_000),
    RATE_LIMIT_PER_ORGANIZATION: z.coerce.number().int().positive().default(20_000),
    /** Credentials in a minute that prove to be none, of one address. */
    RATE_LIMIT_FAILURES_PER_ADDRESS: z.coerce.number().int().positive().default(300),
    /** How many proxies of one's own stand before this process: so many of the last addresses in X-Forwarded-For are theirs to say. */
    FORWARDED_HOPS: z.coerce.number().int().min(0).max(10).default(0),
    /** Signs the sealed heads of the ledger. Without it they are unsigned and say so. */
    LEDGER_SIGNING_KEY: ed25519Key,
    /** Whose session tokens are taken; the second name is the one that apps have already. Without either: API keys only. */
    SUPABASE_URL: supabaseUrl,
    NEXT_PUBLIC_SUPABASE_URL: supabaseUrl,
    /** Of a project that signs with a shared secret. A shorter one can be guessed from any token. */
    SUPABASE_JWT_SECRET: z
      .string()
      .refine((secret) => Buffer.byteLength(secret) >= SHORTEST_SECRET_BYTES, {
        error: `must have at least ${SHORTEST_SECRET_BYTES} bytes`,
      })
      .optional(),
    /** With it the project's user endpoint is asked where the shared secret is not known here. */
    SUPABASE_ANON_KEY: supabaseAnonKey,
    NEXT_PUBLIC_SUPABASE_ANON_KEY: supabaseAnonKey,
  })
  .refine((config) => !config.SUPABASE_JWT_SECRET || config.SUPABASE_URL || config.NEXT_PUBLIC_SUPABASE_URL, {
    path: ['SUPABASE_URL'],
    error: 'is needed with SUPABASE_JWT_SECRET: it names the issuer of the tokens',
  });
export type ApiConfig = z.infer<typeof apiConfig>;

export const workerConfig = common.extend({
  WORKER_HEALTH_HOST: z.string().min(1).default('127.0.0.1'),
  WORKER_HEALTH_PORT: port.default(8081),
  /** How often jobs past their budget are looked for. */
  ORPHAN_SWEEP_INTERVAL_MS: milliseconds.min(1_000).default(15_000),
  /** How often new entries of the ledger are sealed. */
  LEDGER_SEAL_INTERVAL_MS: milliseconds.min(1_000).default(60_000),
  /** How often prompts, results and idempotency records that are no longer kept are looked for. */
  RETENTION_INTERVAL_MS: milliseconds.min(1_000).default(3_600_000),
  /** How long events of the outbox stay that every subscriber has been given. */
  OUTBOX_RETENTION_DAYS: z.coerce.number().int().min(1).max(3_650).default(30),
  AI_BASE_URL: httpUrl,
  AI_API_KEY: z.string().min(1),
  AI_MODEL: z.string().min(1),
});
export type WorkerConfig = z.infer<typeof workerConfig>;

export const migrateConfig = z.object({
  DATABASE_OWNER_URL: databaseUrl,
  /** Given to the login roles tollgate_api, tollgate_worker and tollgate_auditor where set. */
  TOLLGATE_API_PASSWORD: z.string().min(1).optional(),
  TOLLGATE_WORKER_PASSWORD: z.string().min(1).optional(),
  TOLLGATE_AUDITOR_PASSWORD: z.string().min(1).optional(),
});
export type MigrateConfig = z.infer<typeof migrateConfig>;

export const verifyConfig = z.object({
  /** A login that reads everything: tollgate_auditor. */
  DATABASE_AUDITOR_URL: databaseUrl,
});

/** A configuration that cannot work. The message lists every problem and never repeats a value: it may be a secret. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError';
}

/** Reads one of the schemas above from an environment; empty strings count as not set. Throws ConfigurationError. */
export function readConfig<T extends z.ZodType>(schema: T, environment: NodeJS.ProcessEnv): z.infer<T> {
  const given = setIn(environment);
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  throw cannotWork(parsed.error.issues.map((issue) => problemOf(issue, given)));
}

/** Throws one ConfigurationError with the problems of all these schemas, for a start that leads to several processes. */
export function assertConfiguration(schemas: readonly z.ZodType[], environment: NodeJS.ProcessEnv): void {
  const given = setIn(environment);
  const problems = schemas.flatMap((schema) => schema.safeParse(given).error?.issues ?? []);
  if (problems.length > 0) throw cannotWork([...new Set(problems.map((issue) => problemOf(issue, given)))]);
}

/** Empty strings count as not set. */
function setIn(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''));
}

function problemOf(issue: z.core.$ZodIssue, given: NodeJS.ProcessEnv): string {
  const name = issue.path.join('.');
  return given[name] === undefined && issue.code !== 'custom' ? `  ${name} is not set` : `  ${name}: ${issue.message}`;
}

function cannotWork(problems: readonly string[]): ConfigurationError {
  return new ConfigurationError(
    `The configuration cannot work:\n${problems.join('\n')}\nSee .env.example for every variable and its meaning.`,
  );
}
