import { parseArgs } from 'node:util';
import pg from 'pg';
import { ConfigurationError, migrateConfig, readConfig } from '../config.ts';
import { KEY_SCOPES } from '../domain/keyScopes.ts';
import { createApiKey } from './apiKeys.ts';

const USAGE = `Use: npm run key -- --organization ID --name NAME [--scopes ${KEY_SCOPES.join(',')}]
Without --scopes the key may do everything. DATABASE_OWNER_URL says where.`;

/** What can be put right by whoever typed the command: told as a sentence, without a stack. */
class CannotMakeKey extends Error {}

/** The organization of a key is a foreign key. */
const FOREIGN_KEY_VIOLATION = '23503';

/**
 * `npm run key`: makes an API key. The secret is the one line on standard output, so that it can be piped into a secret
 * store; it is shown this once, because only its hash is kept.
 */
try {
  await main();
} catch (error) {
  const isExplained = error instanceof ConfigurationError || error instanceof CannotMakeKey;
  process.stderr.write(`${isExplained ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const { organizationId, name, scopes } = readArguments();
  const config = readConfig(migrateConfig.pick({ DATABASE_OWNER_URL: true }), process.env);
  const client = new pg.Client({ connectionString: config.DATABASE_OWNER_URL, application_name: 'tollgate-key' });
  await client.connect().catch((error: Error) => {
    throw new CannotMakeKey(`The database of DATABASE_OWNER_URL cannot be used: ${error.message}`);
  });
  try {
    const { id, secret } = await createApiKey(client, { organizationId, name, scopes }).catch((error) => {
      if (error.code !== FOREIGN_KEY_VIOLATION) throw error;
      throw new CannotMakeKey(`There is no organization ${organizationId}. Insert it first.`);
    });
    process.stderr.write(
      `Key ${id} of ${organizationId}, for ${scopes.join(' and ')}. It cannot be shown again; keep it now:\n`,
    );
    process.stdout.write(`${secret}\n`);
  } finally {
    await client.end();
  }
}

function readArguments(): { organizationId: string; name: string; scopes: string[] } {
  const { organization, name, scopes } = parse();
  if (!organization || !name) throw new CannotMakeKey(USAGE);
  const wanted = scopes === undefined ? [...KEY_SCOPES] : scopes.split(',');
  const unknown = wanted.filter((scope) => !KEY_SCOPES.some((known) => known === scope));
  if (unknown.length > 0) throw new CannotMakeKey(`There is no scope "${unknown.join('", "')}".\n${USAGE}`);
  return { organizationId: organization, name, scopes: [...new Set(wanted)] };
}

function parse() {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({ options: { organization: text, name: text, scopes: text } }).values;
  } catch (error) {
    throw new CannotMakeKey(`${(error as Error).message}\n${USAGE}`);
  }
}
