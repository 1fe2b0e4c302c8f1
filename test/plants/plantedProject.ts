import { spawn } from 'node:child_process';
import { cp, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import type { ProvidedContext } from 'vitest';
import { databaseUrls } from '../../dev/databaseUrls.ts';
import { migrate } from '../../migrations/migrate.ts';
import { type Plant, withPlant } from './plant.ts';

const PROJECT = join(import.meta.dirname, '../..');

export interface TestResult {
  file: string;
  fullName: string;
  status: string;
  failures: string[];
}

export interface PlantedProject {
  /** Runs these test files, in a process of their own; of their tests those whose names contain one of these words. */
  run(
    files: readonly string[],
    words: readonly string[],
    options?: readonly string[],
  ): Promise<{ tests: TestResult[]; output: string }>;
  remove(): Promise<void>;
}

/**
 * A copy of the project in a temporary folder with the plant in it (null: as it is), and where the plant is SQL a database
 * migrated from there, on the server of this run. Nothing of the working tree is changed.
 *
 * A copy, not links: a module is looked up from where a link leads to, and would find its unchanged neighbours.
 */
export async function plantedProject(plant: Plant | null, services: ProvidedContext): Promise<PlantedProject> {
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-plant-'));
  for (const entry of await readdir(PROJECT)) {
    if (entry === 'node_modules') await symlink(join(PROJECT, entry), join(folder, entry));
    else await cp(join(PROJECT, entry), join(folder, entry), { recursive: true });
  }
  if (plant !== null) {
    const path = join(folder, plant.file);
    await writeFile(path, withPlant(plant, await readFile(path, 'utf8')));
  }

  const isOfSql = plant?.file.startsWith('migrations/') ?? false;
  const templateDatabase = isOfSql ? await migratedFrom(folder, services) : services.templateDatabase;
  return {
    run: (files, words, options = []) =>
      runVitest(folder, files, [...optionsOf(words), ...options], { ...services, templateDatabase }),
    async remove() {
      if (isOfSql) await onServer(services, (client) => client.query(`drop database ${templateDatabase} with (force)`));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

let databases = 0;
let lastMigration: Promise<unknown> = Promise.resolve();

/** One at a time: roles and their memberships belong to the whole server, and the migrations change them. */
function migratedFrom(folder: string, services: ProvidedContext): Promise<string> {
  const migration = lastMigration.then(async () => {
    const name = `planted_${process.pid}_${++databases}`;
    await onServer(services, (client) => client.query(`create database ${name} owner tollgate_owner`));
    const url = new URL(services.superuserUrl);
    url.pathname = `/${name}`;
    const { owner } = databaseUrls(url.href, services.databasePasswords);
    await migrate({ ownerUrl: owner, folder: pathToFileURL(join(folder, 'migrations/')) });
    return name;
  });
  lastMigration = migration.catch(() => {});
  return migration;
}

async function onServer(services: ProvidedContext, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: services.superuserUrl });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** vitest takes a regular expression. */
function optionsOf(words: readonly string[]): string[] {
  if (words.length === 0) return [];
  return ['--testNamePattern', words.map((some) => some.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')];
}

async function runVitest(
  folder: string,
  files: readonly string[],
  options: readonly string[],
  services: ProvidedContext,
): Promise<{ tests: TestResult[]; output: string }> {
  const report = join(folder, 'report.json');
  const output = await outputOf(
    [
      ...['node_modules/vitest/vitest.mjs', 'run', ...files],
      ...['--maxWorkers=1', '--reporter=json', `--outputFile=${report}`],
      // A test that fails half-way may leave a transaction open, for which its clean-up then waits.
      ...['--hookTimeout=15000', '--teardownTimeout=5000'],
      ...options,
    ],
    folder,
    { ...process.env, NO_COLOR: '1', FORCE_COLOR: '0', TOLLGATE_TEST_SERVICES: JSON.stringify(services) },
  );
  const { testResults } = JSON.parse(await readFile(report, 'utf8').catch(() => '{"testResults":[]}'));
  const tests = testResults.flatMap(({ name, assertionResults }: VitestFile) =>
    assertionResults.map(({ fullName, status, failureMessages }) => ({
      file: name.slice(name.lastIndexOf('/test/') + 1),
      fullName,
      status,
      failures: failureMessages,
    })),
  );
  return { tests, output };
}

/** What we read of vitest's JSON report. */
interface VitestFile {
  name: string;
  assertionResults: { fullName: string; status: string; failureMessages: string[] }[];
}

function outputOf(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv): Promise<string> {
  const child = spawn(process.execPath, args, { cwd, env });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve(output));
  });
}
