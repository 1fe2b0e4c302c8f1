import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { ConfigurationError, readConfig, verifyConfig } from '../config.ts';
import { createPool } from './pool.ts';
import { CHECKS, countVerified, ROWS_PER_CHECK, type VerifyProgress, verify } from './verify.ts';

/**
 * `npm run verify`: proves the invariants on the database of DATABASE_AUDITOR_URL or, without it, on the one of a running
 * `npm start`. One line for each check; exit 1 with the offending rows.
 */
try {
  process.exitCode = (await prove(await auditorUrl(process.env))) ? 0 : 1;
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}

async function prove(url: string): Promise<boolean> {
  const pool = createPool({ url, applicationName: 'tollgate-verify', maxConnections: 1, queryTimeoutMs: null });
  try {
    const findings = new Map((await verify(pool, showProgress())).map((finding) => [finding.check, finding]));
    for (const { name, sentence } of CHECKS) {
      const rows = findings.get(name)?.rows ?? [];
      console.log(`${rows.length === 0 ? '✓' : '✗'} ${name.padEnd(21)} ${sentence}`);
      for (const row of rows) console.log(`    ${JSON.stringify(row)}`);
      if (rows.length === ROWS_PER_CHECK) console.log(`    … perhaps more: only the first ${ROWS_PER_CHECK} are shown`);
    }
    const { organizations, balances, entries, holds, jobs } = await countVerified(pool);
    console.log(
      `\n${findings.size === 0 ? 'Sound' : `Broken in ${findings.size} of ${CHECKS.length} checks`}: ` +
        `${organizations} organizations, ${balances} balances, ${entries} ledger entries, ${holds} holds, ${jobs} jobs.`,
    );
    return findings.size === 0;
  } finally {
    await pool.end();
  }
}

/** A bar on a terminal; elsewhere a line every few seconds, so that a log shows that it goes on. */
function showProgress(): (progress: VerifyProgress) => void {
  const startedAt = performance.now();
  let saidAt = startedAt;
  return ({ entries, entriesInAll }) => {
    const share = entriesInAll === 0 ? 1 : entries / entriesInAll;
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    const line = `${Math.floor(share * 100)} %  ${entries} of ${entriesInAll} entries  ${seconds} s`;
    if (process.stderr.isTTY) {
      const bar = '█'.repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, '░');
      process.stderr.write(share < 1 ? `\r${bar} ${line}` : '\r\x1b[2K');
    } else if (share < 1 && performance.now() - saidAt > 5_000) {
      saidAt = performance.now();
      process.stderr.write(`${line}\n`);
    }
  };
}

const BAR_WIDTH = 30;

async function auditorUrl(environment: NodeJS.ProcessEnv): Promise<string> {
  if (environment.DATABASE_AUDITOR_URL) return readConfig(verifyConfig, environment).DATABASE_AUDITOR_URL;

  const stackFile = fileURLToPath(new URL('../.tollgate/stack.json', import.meta.url));
  const text = await readFile(stackFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error;
    throw new ConfigurationError(
      'Which database? Set DATABASE_AUDITOR_URL to a login that reads everything (tollgate_auditor), or run `npm start` first: its own database is verified then.',
    );
  });
  const auditor: unknown = JSON.parse(text)?.databases?.auditor;
  if (typeof auditor === 'string') return auditor;
  throw new ConfigurationError(
    '`npm start` runs with a database of your own, whose auditor it does not know. Set DATABASE_AUDITOR_URL to a login that reads everything (tollgate_auditor).',
  );
}
