import { parseArgs } from 'node:util';
import pg from 'pg';
import { ConfigurationError, migrateConfig, readConfig } from '../config.ts';
import { createOperator, revokeOperator } from './operators.ts';

const USAGE = `Use: npm run operator -- --name NAME [--days N]     makes an operator, whose credential ends after N days
     npm run operator -- --revoke ID                ends one at once
DATABASE_OWNER_URL says where.`;

/** What can be put right by whoever typed the command: told as a sentence, without a stack. */
class CannotDoThat extends Error {}

/**
 * `npm run operator`: makes or ends an operator. The credential is the one line on standard output, so that it can be piped
 * into a secret store; it is shown this once, because only its hash is kept.
 */
try {
  await main();
} catch (error) {
  const isExplained = error instanceof ConfigurationError || error instanceof CannotDoThat;
  process.stderr.write(`${isExplained ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const asked = readArguments();
  const config = readConfig(migrateConfig.pick({ DATABASE_OWNER_URL: true }), process.env);
  const client = new pg.Client({ connectionString: config.DATABASE_OWNER_URL, application_name: 'tollgate-operator' });
  await client.connect().catch((error: Error) => {
    throw new CannotDoThat(`The database of DATABASE_OWNER_URL cannot be used: ${error.message}`);
  });
  try {
    if ('revoke' in asked) {
      if (!(await revokeOperator(client, asked.revoke))) {
        throw new CannotDoThat(`No operator ${asked.revoke} has a credential that works.`);
      }
      process.stderr.write(`Operator ${asked.revoke} can do nothing any more.\n`);
      return;
    }
    const { id, credential } = await createOperator(client, asked);
    process.stderr.write(`Operator ${id}, ${asked.name}. The credential cannot be shown again; keep it now:\n`);
    process.stdout.write(`${credential}\n`);
  } finally {
    await client.end();
  }
}

function readArguments(): { name: string; expiresAt: Date | null } | { revoke: string } {
  const { name, days, revoke } = parse();
  if (revoke && name === undefined && days === undefined) return { revoke };
  if (revoke !== undefined || !name?.trim() || name.length > 100) throw new CannotDoThat(USAGE);
  if (days === undefined) return { name, expiresAt: null };
  if (!/^[1-9]\d{0,3}$/.test(days)) throw new CannotDoThat(`--days takes a whole number from 1 to 9999.\n${USAGE}`);
  return { name, expiresAt: new Date(Date.now() + Number(days) * 86_400_000) };
}

function parse() {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({ options: { name: text, days: text, revoke: text } }).values;
  } catch (error) {
    throw new CannotDoThat(`${(error as Error).message}\n${USAGE}`);
  }
}
