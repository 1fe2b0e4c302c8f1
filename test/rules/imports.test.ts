import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cruise, type ICruiseResult } from 'dependency-cruiser';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const RULES = createRequire(import.meta.url)('../../.dependency-cruiser.cjs');

/** Of DESIGN, section 7. Those that are not built yet are looked at from the day they are there. */
const ROOMS = [
  ...['domain', 'contract', 'db', 'migrations', 'workflows', 'activities', 'api', 'worker'],
  ...['sdk', 'react', 'dashboard', 'examples', 'dev', 'bench', 'test'],
];
/** Written to be wrong, for the test that shows that replay notices. */
const BROKEN_ON_PURPOSE = /^test\/replay\/broken\//;

test('every import keeps to the rooms', async () => {
  expect(await violations(PROJECT)).toEqual([]);
}, 30_000);

test('no file is named after nothing', async () => {
  expect((await sources(PROJECT)).filter(isNamedAfterNothing)).toEqual([]);
});

test('no file only re-exports, but the entry of the workflow bundle', async () => {
  expect(await barrels(PROJECT)).toEqual([]);
});

describe('the rules catch', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'tollgate-rooms-'));
    await symlink(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
    await Promise.all(Object.entries(KEEPING_TO_THE_RULES).map(([path, text]) => write(path, text)));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function write(path: string, text: string): Promise<void> {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }

  /** What is found with these files added to those that are in order. */
  async function found<T>(files: Record<string, string>, look: (folder: string) => Promise<T>): Promise<T> {
    await Promise.all(Object.entries(files).map(([path, text]) => write(path, text)));
    try {
      return await look(folder);
    } finally {
      await Promise.all(Object.keys(files).map((path) => rm(join(folder, path))));
    }
  }

  test('nothing in rooms that keep to them', async () => {
    expect(await violations(folder)).toEqual([]);
    expect((await sources(folder)).filter(isNamedAfterNothing)).toEqual([]);
    expect(await barrels(folder)).toEqual([]);
  });

  test.each(BREAKING_A_RULE)('$rule: $path: $text', async ({ rule, path, text }) => {
    const broken = await found({ [path]: text }, violations);
    expect(broken.map((one) => one.split(':')[0])).toEqual([rule]);
    expect(broken[0]).toContain(path);
  });

  test('no-circles: two files that import each other, types only included', async () => {
    const files = {
      'db/one.ts': "import { two } from './two.ts';\nexport const one = () => two;\n",
      'db/two.ts': "import type { one } from './one.ts';\nexport const two = (f: typeof one) => f;\n",
    };
    const rules = (await found(files, violations)).map((one) => one.split(':')[0]);
    expect(new Set(rules)).toEqual(new Set(['no-circles']));
  });

  test.each([
    'db/utils.ts',
    'api/common.ts',
    'domain/helpers.ts',
    'contract/shared.ts',
    'worker/types.ts',
    'activities/jobManager.ts',
    'db/holdHelpers.ts',
    'api/utils/dates.ts',
  ])('a file named after nothing: %s', async (path) => {
    const names = await found({ [path]: 'export const x = 1;\n' }, sources);
    expect(names.filter(isNamedAfterNothing)).toEqual([path]);
  });

  test.each([
    ["export * from './holds.ts';\n"],
    ["// Everything in one place.\nexport { holds } from './holds.ts';\nexport type { Holds } from './holds.ts';\n"],
    ["import { holds } from './holds.ts';\nexport { holds };\n"],
  ])('a barrel: %s', async (text) => {
    expect(await found({ 'db/index.ts': text }, barrels)).toEqual(['db/index.ts']);
  });
});

const KEEPING_TO_THE_RULES: Record<string, string> = {
  'config.ts': "import { z } from 'zod';\nexport const apiConfig = z.object({});\nexport type ApiConfig = object;\n",
  'domain/plans.ts': "import { z } from 'zod';\nexport const plans = z.string();\n",
  'contract/jobs.ts': "import { plans } from '../domain/plans.ts';\nexport const jobs = [plans];\n",
  'db/holds.ts': `import { createHash } from 'node:crypto';
import pg from 'pg';
import { plans } from '../domain/plans.ts';
export const holds = [pg, plans, createHash];
export type Holds = typeof holds;
`,
  'db/verifyMain.ts': "import { apiConfig } from '../config.ts';\nconsole.log(apiConfig);\n",
  'migrations/migrate.ts': "import { holds } from '../db/holds.ts';\nexport const migrate = () => holds;\n",
  'activities/operation.ts': `import { holds } from '../db/holds.ts';
export const operation = () => holds;
export type Operation = typeof operation;
`,
  'workflows/runJob.ts': `import { sleep } from '@temporalio/workflow';
import type { Operation } from '../activities/operation.ts';
import { plans } from '../domain/plans.ts';
export const runJob = (operation: Operation) => [sleep, plans, operation];
`,
  'workflows/index.ts': "export { runJob } from './runJob.ts';\n",
  'api/app.ts': `import type { ApiConfig } from '../config.ts';
import { jobs } from '../contract/jobs.ts';
import type { runJob } from '../workflows/runJob.ts';
export const app = (config: ApiConfig, workflow: typeof runJob) => [config, workflow, jobs];
`,
  'api/main.ts':
    "import { apiConfig } from '../config.ts';\nimport { app } from './app.ts';\nconsole.log(app, apiConfig);\n",
  'sdk/tokens.ts': `import type { jobs } from '../contract/jobs.ts';
import { plans } from '../domain/plans.ts';
export const tokens = (answer: typeof jobs) => [answer, plans];
`,
  'sdk/fileQueue.ts': "import { open } from 'node:fs/promises';\nexport const queue = () => open;\n",
  'examples/quest.ts': "import { tokens } from '../sdk/tokens.ts';\nexport const quest = () => tokens;\n",
  'worker/main.ts': `import { operation } from '../activities/operation.ts';
import * as workflows from '../workflows/index.ts';
console.log(operation, workflows);
`,
  'dev/stack.ts':
    "import { apiConfig } from '../config.ts';\nimport { migrate } from '../migrations/migrate.ts';\nexport const stack = [apiConfig, migrate];\n",
  'test/stack.test.ts':
    "import { apiConfig } from '../config.ts';\nimport { stack } from '../dev/stack.ts';\nconsole.log(stack, apiConfig);\n",
};

const OPERATION = "import { operation } from '../activities/operation.ts';";
const HOLDS = "import { holds } from '../db/holds.ts';";
const RUN_JOB = "import { runJob } from '../workflows/runJob.ts';";
const STACK = "import { stack } from '../dev/stack.ts';";
const CONFIG = "import { apiConfig } from '../config.ts';";

const BREAKING_A_RULE: { rule: string; path: string; text: string }[] = [
  { rule: 'domain-imports-its-rooms', path: 'domain/bad.ts', text: "import { jobs } from '../contract/jobs.ts';" },
  { rule: 'domain-imports-its-rooms', path: 'domain/bad.ts', text: "import type { Holds } from '../db/holds.ts';" },
  { rule: 'domain-imports-its-packages', path: 'domain/bad.ts', text: "import pg from 'pg';" },
  { rule: 'domain-imports-no-node', path: 'domain/bad.ts', text: "import { randomUUID } from 'node:crypto';" },
  { rule: 'contract-imports-its-rooms', path: 'contract/bad.ts', text: HOLDS },
  { rule: 'db-imports-its-rooms', path: 'db/bad.ts', text: "import { jobs } from '../contract/jobs.ts';" },
  { rule: 'db-imports-its-rooms', path: 'db/bad.ts', text: "import { migrate } from '../migrations/migrate.ts';" },
  { rule: 'migrations-imports-its-rooms', path: 'migrations/bad.ts', text: "import { app } from '../api/app.ts';" },
  { rule: 'workflows-imports-its-rooms', path: 'workflows/bad.ts', text: HOLDS },
  {
    rule: 'workflows-imports-its-rooms',
    path: 'workflows/bad.ts',
    text: "export const late = () => import('../db/holds.ts');",
  },
  { rule: 'workflows-imports-types-only', path: 'workflows/bad.ts', text: OPERATION },
  // Erased in its parts, it still loads the module: only `import type` is gone as a whole.
  {
    rule: 'workflows-imports-types-only',
    path: 'workflows/bad.ts',
    text: "import { operation, type Operation } from '../activities/operation.ts';",
  },
  { rule: 'workflows-imports-its-packages', path: 'workflows/bad.ts', text: "import { z } from 'zod';" },
  {
    rule: 'workflows-imports-its-packages',
    path: 'workflows/bad.ts',
    text: "import { Client } from '@temporalio/client';",
  },
  { rule: 'workflows-imports-no-node', path: 'workflows/bad.ts', text: "import { readFileSync } from 'node:fs';" },
  {
    rule: 'activities-imports-its-rooms',
    path: 'activities/bad.ts',
    text: "import { jobs } from '../contract/jobs.ts';",
  },
  { rule: 'activities-imports-its-rooms', path: 'activities/bad.ts', text: RUN_JOB },
  { rule: 'api-imports-types-only', path: 'api/bad.ts', text: RUN_JOB },
  { rule: 'api-imports-its-rooms', path: 'api/routes/bad.ts', text: OPERATION.replace('..', '../..') },
  { rule: 'sdk-imports-types-only', path: 'sdk/bad.ts', text: "import { jobs } from '../contract/jobs.ts';" },
  { rule: 'sdk-imports-its-rooms', path: 'sdk/bad.ts', text: HOLDS },
  { rule: 'sdk-imports-no-node', path: 'sdk/bad.ts', text: "import { randomUUID } from 'node:crypto';" },
  {
    rule: 'examples-imports-its-rooms',
    path: 'examples/bad.ts',
    text: "import type { jobs } from '../contract/jobs.ts';",
  },
  { rule: 'product-imports-no-tools', path: 'worker/bad.ts', text: STACK },
  { rule: 'product-imports-no-tools', path: 'db/bad.ts', text: "import type { stack } from '../dev/stack.ts';" },
  { rule: 'product-imports-no-tools', path: 'api/bad.ts', text: "import '../test/stack.test.ts';" },
  { rule: 'dev-imports-no-tests', path: 'dev/bad.ts', text: "import '../test/stack.test.ts';" },
  { rule: 'config-is-for-entry-points', path: 'db/bad.ts', text: CONFIG },
  { rule: 'config-is-for-entry-points', path: 'api/routes/main.ts', text: CONFIG.replace('..', '../..') },
  { rule: 'everything-resolves', path: 'db/bad.ts', text: "import { gone } from './gone.ts';" },
];

/** As `rule: from → to`. */
async function violations(folder: string): Promise<string[]> {
  const { output } = await cruise([...(await roomsOf(folder)), 'config.ts'], {
    ...RULES.options,
    ruleSet: { forbidden: RULES.forbidden },
    validate: true,
    baseDir: folder,
    exclude: { path: BROKEN_ON_PURPOSE.source },
  });
  const { summary } = output as ICruiseResult;
  // An empty look finds nothing wrong either.
  expect(summary.totalDependenciesCruised).toBeGreaterThan(10);
  return summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`);
}

async function roomsOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory() && ROOMS.includes(entry.name)).map((entry) => entry.name);
}

async function sources(folder: string): Promise<string[]> {
  const rooms = await roomsOf(folder);
  const paths = await Promise.all(
    rooms.map(async (room) => (await readdir(join(folder, room), { recursive: true })).map((path) => join(room, path))),
  );
  return paths.flat().filter((path) => /\.[cm]?[jt]sx?$/.test(path) && !/node_modules|\/dist\//.test(path));
}

/** STYLE: a helper that fits nowhere is a noun not yet found. `tokenTypes` is a noun; `types` is none. */
function isNamedAfterNothing(path: string): boolean {
  const names = [...dirname(path).split('/'), basename(path).replace(/\..*$/, '')];
  return names.some(
    (name) =>
      /^(utils?|common|helpers?|shared|types|managers?)$/i.test(name) || /(Utils?|Helpers?|Managers?)$/.test(name),
  );
}

async function barrels(folder: string): Promise<string[]> {
  const found: string[] = [];
  for (const path of await sources(folder)) {
    if (path === 'workflows/index.ts' || BROKEN_ON_PURPOSE.test(path)) continue;
    if (onlyReExports(await readFile(join(folder, path), 'utf8'))) found.push(path);
  }
  return found;
}

function onlyReExports(text: string): boolean {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '');
  const statements = code
    .split(';')
    .map((one) => one.trim())
    .filter((one) => one !== '');
  const passesOn = /^export\s+(type\s+)?(\*|\{)/;
  return (
    statements.some((one) => passesOn.test(one)) &&
    statements.every((one) => passesOn.test(one) || /^import\b/.test(one))
  );
}
