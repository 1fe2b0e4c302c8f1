import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { spawnTethered, type TetheredProcess } from '../../dev/tetheredProcess.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { GOAL } from './testApi.ts';

let database: TestDatabase;
const started: TetheredProcess[] = [];

beforeAll(async () => {
  database = await freshDatabase();
});
afterEach(() => Promise.all(started.splice(0).map((api) => api.stop([{ signal: 'SIGKILL', withinMs: 5_000 }]))));
afterAll(() => database.drop());

/** api/main.ts as a process of its own, on a free port. */
async function startApi(environment: NodeJS.ProcessEnv = {}) {
  const lines: string[] = [];
  const process_ = await spawnTethered({
    command: process.execPath,
    args: ['api/main.ts'],
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: database.apiUrl,
      TEMPORAL_ADDRESS: inject('temporalAddress'),
      TEMPORAL_TASK_QUEUE: `test-${randomUUID()}`,
      API_PORT: '0',
      ...environment,
    },
    deathSignal: 'SIGKILL',
    output: { onLine: (line) => lines.push(line) },
  });
  started.push(process_);
  const url = () =>
    until(() => lines.map((line) => (line.startsWith('{') ? JSON.parse(line).url : null)).find(Boolean));
  return { ...process_, lines, url };
}

describe('api/main.ts', () => {
  test('C6 after SIGTERM answers who waits, takes nobody new, and ends with 0', async () => {
    const organization = await createOrganization(database.superuser);
    const api = await startApi();
    const url = (await api.url()) as string;
    const headers = { Authorization: `Bearer ${organization.secret}` };
    const admitted = await fetch(`${url}/api/v1/jobs`, {
      method: 'POST',
      headers: { ...headers, 'Content-Type': 'application/json', 'Idempotency-Key': 'k' },
      body: JSON.stringify(GOAL),
    });
    const { links } = (await admitted.json()) as { links: { self: string } };
    const waiting = fetch(`${url}${links.self}?wait=30s`, { headers });
    // The wait has arrived once a request that was sent after it has been answered.
    await fetch(`${url}/readyz`);
    const isWaiting = await Promise.race([waiting.then(() => false), fetch(`${url}/readyz`).then(() => true)]);
    expect(isWaiting).toBe(true);

    api.kill('SIGTERM');
    const answer = await waiting;
    expect([answer.status, ((await answer.json()) as { state: string }).state]).toEqual([200, 'admitted']);
    expect(await api.exited).toEqual({ code: 0, signal: null });
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();

    const lines = api.lines.map((line) => JSON.parse(line));
    expect(lines.find(({ msg, status }) => msg === 'request' && status === 202)).toMatchObject({
      method: 'POST',
      route: '/api/v1/jobs',
      organizationId: organization.organizationId,
      principal: organization.principal,
    });
    expect(api.lines.join('\n')).not.toContain(organization.secret);
    expect(api.lines.join('\n')).not.toContain('logistics');
  });

  test('C7 starts while Temporal is away', async () => {
    const api = await startApi({ TEMPORAL_ADDRESS: '127.0.0.1:1' });
    const reply = await fetch(`${await api.url()}/readyz`);
    expect([reply.status, ((await reply.json()) as { temporal: string }).temporal]).toEqual([200, 'unreachable']);
  });

  test('ends with 1 and every problem, but no value, when the configuration cannot work', async () => {
    const api = await startApi({ DATABASE_URL: 'mysql://user:hunter2@x/y', TEMPORAL_ADDRESS: '', API_PORT: '99999' });
    expect(await api.exited).toEqual({ code: 1, signal: null });
    const text = api.lines.join('\n');
    for (const name of ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'API_PORT']) expect(text).toContain(name);
    expect(text).not.toContain('hunter2');
    expect(text).not.toContain('    at ');
  });

  test('ends with 1 and a sentence when the database has other prices', async () => {
    const other = await freshDatabase();
    await other.superuser.query("insert into tollgate.catalogue_versions (digest) values ('another')");
    const api = await startApi({ DATABASE_URL: other.apiUrl });
    expect(await api.exited).toEqual({ code: 1, signal: null });
    expect(api.lines.join('\n')).toContain('another catalogue');
    expect(api.lines.join('\n')).not.toContain('    at ');
    await other.drop();
  });

  test('ends with 1 and a sentence when its port is taken', async () => {
    const first = await startApi();
    const port = new URL((await first.url()) as string).port;
    const second = await startApi({ API_PORT: port });
    expect(await second.exited).toEqual({ code: 1, signal: null });
    expect(second.lines.join('\n')).toMatch(/Cannot listen on 127\.0\.0\.1:\d+/);
  });

  test('waits for a database that is not there yet, and ends at once when asked to meanwhile', async () => {
    const api = await startApi({ DATABASE_URL: 'postgres://nobody:x@127.0.0.1:1/none' });
    await until(() => api.lines.some((line) => line.includes('waiting for the database')));
    api.kill('SIGTERM');
    expect(await api.exited).toEqual({ code: 0, signal: null });
  });
});
