import { migrateConfig, readConfig } from '../config.ts';
import { migrate } from './migrate.ts';

/** `npm run migrate`: brings the database of DATABASE_OWNER_URL up to this code. Safe to repeat, and from two places at once. */
try {
  const config = readConfig(migrateConfig, process.env);
  const { applied } = await migrate({
    ownerUrl: config.DATABASE_OWNER_URL,
    rolePasswords: {
      tollgate_api: config.TOLLGATE_API_PASSWORD,
      tollgate_worker: config.TOLLGATE_WORKER_PASSWORD,
      tollgate_auditor: config.TOLLGATE_AUDITOR_PASSWORD,
    },
    say: (line) => console.log(line),
  });
  console.log(
    applied.length === 0 ? 'Nothing to do: the database is up to date.' : `Done: ${applied.length} files applied.`,
  );
} catch (error) {
  console.error(error instanceof Error ? error.message || error.name : error);
  process.exitCode = 1;
}
