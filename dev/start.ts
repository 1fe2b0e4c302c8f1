import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DEVELOPMENT_MEMBER } from './developmentOrganization.ts';
import { endWithNpm } from './endWithNpm.ts';
import { type Stack, startStack } from './stack.ts';

/**
 * `npm start`: the whole of Tollgate on this machine, kept up until Ctrl-C. What it knows is kept in `.tollgate/`, or in
 * the folder that is named as the first argument, so the next start has the same URLs, key and data.
 */
const stateDirectory = resolve(process.argv[2] ?? fileURLToPath(new URL('../.tollgate', import.meta.url)));
const stackFile = join(stateDirectory, 'stack.json');

/** Wishes for the first start: a row of neighbours is easier to remember than six numbers. */
const PORTS = {
  api: 4800,
  temporalUi: 4801,
  temporal: 4802,
  postgres: 4803,
  standIn: 4804,
  workerHealth: 4805,
  authStandIn: 4806,
};

let stack: Stack | undefined;
let stopping = false;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end());
endWithNpm(() => void end());

try {
  stack = await startStack({ stateDirectory, ports: PORTS, say: (line) => console.log(line) });
  await writeFile(
    stackFile,
    JSON.stringify({ pid: process.pid, organizationId: stack.organizationId, ...stack.urls }, null, 2),
    { mode: 0o600 },
  );
  console.log(welcome(stack));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

/** The first signal stops everything in order; a second one, or one before all is up, at once: every part dies with us. */
async function end(): Promise<void> {
  if (stopping || !stack) process.exit(130);
  stopping = true;
  console.log('Stopping …');
  await rm(stackFile, { force: true });
  await stack.stop();
  process.exit(0);
}

function welcome({ urls, developmentKey, operatorCredential, organizationId }: Stack): string {
  const key = developmentKey.secret;
  const rows = [
    ['API', urls.api],
    ['Temporal UI', urls.temporalUi],
    ['Temporal', urls.temporal],
    ['Database (owner)', urls.databases.owner],
    ['Database (superuser)', urls.databases.superuser],
    ['AI provider', urls.ai],
    ['Organization', organizationId],
    ['Sign-in', urls.auth],
    ['Development key', key],
    ['Operator', operatorCredential ?? undefined],
  ].filter((row): row is [string, string] => row[1] !== undefined);
  const variables = [
    ['TOLLGATE_URL', urls.api],
    ['TOLLGATE_KEY', key],
    ['OPERATOR', operatorCredential],
  ].filter(([, value]) => value);
  return [
    '',
    ...rows.map(([name, value]) => `  ${name.padEnd(21)} ${value}`),
    '',
    'Try it:',
    '',
    `  curl -s '${urls.api}/api/v1/jobs' \\`,
    `    -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' \\`,
    `    -H "Idempotency-Key: try-$(date +%s)" -d '{"feature": "generate_goal", "input": {"industry": "bicycles", "horizonMonths": 6}}'`,
    '',
    'The answer names the job. With its id in place of JOB, this waits for its result:',
    '',
    `  curl -s '${urls.api}/api/v1/jobs/JOB?wait=20s' -H 'Authorization: Bearer ${key}'`,
    '',
    ...(urls.auth.startsWith('http://127.0.0.1')
      ? [
          'Or as a signed-in user, with a session of the sign-in stand-in:',
          '',
          `  curl -s '${urls.auth}/auth/v1/token?grant_type=password' -d '{"email": "${DEVELOPMENT_MEMBER}@example.com", "password": "any"}'`,
          '',
        ]
      : []),
    'For the lines of README.md and docs/guides/, in the shell that is to run them:',
    '',
    `  export ${variables.map(([name, value]) => `${name}='${value}'`).join(' ')}`,
    '',
    'Ctrl-C stops it.',
  ].join('\n');
}
