import { readFile, writeFile } from 'node:fs/promises';
import pg from 'pg';
import { createApiKey } from '../db/apiKeys.ts';
import { authenticateKeys } from '../db/credentials.ts';
import { authenticateOperator, createOperator } from '../db/operators.ts';
import { secretHash } from '../db/secrets.ts';
import { KEY_SCOPES } from '../domain/keyScopes.ts';

export const DEVELOPMENT_ORGANIZATION = { id: 'org-dev', name: 'Development', plan: 'pro' } as const;

/** The id of the user who can sign in with the stand-in, as its admin. */
export const DEVELOPMENT_MEMBER = 'dev';

export interface DevelopmentKey {
  secret: string;
  /** False when it is the key of an earlier start. */
  isNew: boolean;
}

export interface DevelopmentOrganizationOptions {
  /** Login of a superuser, or of the owner. */
  adminUrl: string;
  /** Login of the API's role, which is who authenticates keys. */
  apiUrl: string;
  /** Where the key is kept, readable for us alone: the database has only its hash. */
  keyFile: string;
  /** Whether the user of the sign-in stand-in is to belong to it. */
  hasMember: boolean;
}

/** Makes sure that there is an organization to try things with, and a key to it that works on this database. */
export async function ensureDevelopmentOrganization(options: DevelopmentOrganizationOptions): Promise<DevelopmentKey> {
  const admin = new pg.Client({ connectionString: options.adminUrl });
  await admin.connect();
  try {
    await insertOrganization(admin, options.hasMember);
    const kept = await readFile(options.keyFile, 'utf8').catch(() => undefined);
    if (kept && (await isAccepted(options.apiUrl, kept, authenticateKey))) return { secret: kept, isNew: false };

    const { secret } = await createApiKey(admin, {
      organizationId: DEVELOPMENT_ORGANIZATION.id,
      name: 'development',
      scopes: KEY_SCOPES,
    });
    await writeFile(options.keyFile, secret, { mode: 0o600 });
    return { secret, isNew: true };
  } finally {
    await admin.end();
  }
}

/** Makes sure that there is an operator to try things as; answers his credential. */
export async function ensureDevelopmentOperator(options: {
  adminUrl: string;
  apiUrl: string;
  credentialFile: string;
}): Promise<string> {
  const kept = await readFile(options.credentialFile, 'utf8').catch(() => undefined);
  if (kept && (await isAccepted(options.apiUrl, kept, authenticateOperator))) return kept;
  const admin = new pg.Client({ connectionString: options.adminUrl });
  await admin.connect();
  try {
    const { credential } = await createOperator(admin, { name: 'development' });
    await writeFile(options.credentialFile, credential, { mode: 0o600 });
    return credential;
  } finally {
    await admin.end();
  }
}

/** As service_role, the one role that may edit organizations by SQL; an organization that is there stays as it is. */
async function insertOrganization(admin: pg.Client, hasMember: boolean): Promise<void> {
  const { id, name, plan } = DEVELOPMENT_ORGANIZATION;
  await admin.query('begin');
  try {
    const wasMember = await setServiceRole(admin);
    await admin.query(
      'insert into public.organizations (id, name, plan) values ($1, $2, $3) on conflict (id) do nothing',
      [id, name, plan],
    );
    if (hasMember) {
      await admin.query(
        `insert into public.user_profiles (id, organization_id, role) values ($1, $2, 'admin') on conflict (id) do nothing`,
        [DEVELOPMENT_MEMBER, id],
      );
    }
    await admin.query('reset role');
    if (!wasMember) await admin.query('revoke service_role from current_user');
    await admin.query('commit');
  } catch (error) {
    await admin.query('rollback');
    throw error;
  }
}

const INSUFFICIENT_PRIVILEGE = '42501';

/**
 * The owner has made service_role, but may not act as it (from PostgreSQL 16 on) unless it grants itself the role. It
 * gives that back in the same transaction, or it would see through service_role's policies from then on.
 */
async function setServiceRole(admin: pg.Client): Promise<boolean> {
  await admin.query('savepoint before_role');
  try {
    await admin.query('set local role service_role');
    return true;
  } catch (error) {
    if ((error as pg.DatabaseError).code !== INSUFFICIENT_PRIVILEGE) throw error;
    await admin.query('rollback to savepoint before_role');
    await admin.query('grant service_role to current_user');
    await admin.query('set local role service_role');
    return false;
  }
}

async function authenticateKey(pool: pg.Pool, secret: string): Promise<object | null> {
  return (await authenticateKeys(pool, [secretHash(secret)]))[0]!;
}

async function isAccepted(
  apiUrl: string,
  secret: string,
  authenticate: (pool: pg.Pool, secret: string) => Promise<object | null>,
): Promise<boolean> {
  const pool = new pg.Pool({ connectionString: apiUrl, max: 1 });
  try {
    return (await authenticate(pool, secret)) !== null;
  } finally {
    await pool.end();
  }
}
