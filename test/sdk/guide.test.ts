import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runToTheEnd, startTestApi, type TestApi } from '../api/testApi.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

/** docs/guides/SDK.md, executed: its blocks as one module, in their order. */

const guide = await readFile(new URL('../../docs/guides/SDK.md', import.meta.url), 'utf8');
const module = [...guide.matchAll(/```ts\n(.*?)```/gs)].map(([, block]) => block!).join('\n');

let database: TestDatabase;
let api: TestApi;
let folder: string;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  folder = await mkdtemp(join(tmpdir(), 'tollgate-guide-'));
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await api.close();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

test('the guide’s lines run one after the other, and do what it says', async () => {
  const { organizationId, secret } = await createOrganization(database.superuser);
  const running = spawn(process.execPath, ['--input-type=module-typescript', '--eval', module], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      TOLLGATE_URL: api.url,
      TOLLGATE_KEY: secret,
      QUEUE_FILE: join(folder, 'uses.jsonl'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const written = Promise.all([text(running.stdout), text(running.stderr)]);
  const job = () =>
    database.superuser.query('select j.id from tollgate.jobs j where j.organization_id = $1', [organizationId]);
  const jobId = await until(async () => (await job()).rows[0]?.id as string | undefined);
  await runToTheEnd(database, organizationId, jobId);
  const [output, errors] = await written;
  expect(errors).toBe('');
  expect(output.trimEnd().split('\n')).toEqual([
    'Ship faster',
    'An insight',
    ...['generate_leads 7', 'generate_insight 2', 'generate_goal 3'].sort(
      (one, other) => output.indexOf(one) - output.indexOf(other),
    ),
    '1 true',
    '1000 needed, 44 left',
    'opened',
    'queued',
    'done',
    '1',
  ]);
});
