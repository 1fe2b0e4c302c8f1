import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { readiness } from '../../contract/health.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import { startTcpProxy, type TcpProxy } from './tcpProxy.ts';
import { expectProblem, startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let toTemporal: TcpProxy;
let toDatabase: TcpProxy;
let api: TestApi;

beforeAll(async () => {
  database = await freshDatabase();
  const [host, port] = inject('temporalAddress').split(':');
  toTemporal = await startTcpProxy({ host: host!, port: Number(port) });
  const databaseUrl = new URL(database.apiUrl);
  toDatabase = await startTcpProxy({ host: databaseUrl.hostname, port: Number(databaseUrl.port) });
  databaseUrl.hostname = '127.0.0.1';
  databaseUrl.port = `${toDatabase.port}`;
  api = await startTestApi(database, {
    databaseUrl: databaseUrl.href,
    temporalAddress: toTemporal.address,
    queryTimeoutMs: 300,
  });
});
afterAll(async () => {
  await api.close();
  await Promise.all([toTemporal.close(), toDatabase.close()]);
  await database.drop();
});

async function ready() {
  const reply = await api.call('/readyz');
  const { status, ...parts } = readiness.parse(reply.body);
  return [reply.status, status, parts.database, parts.catalogue, parts.temporal];
}

describe('health', () => {
  test('/healthz answers as long as the process does, without credentials', async () => {
    const reply = await api.call('/healthz');
    expect([reply.status, reply.body]).toEqual([200, { status: 'alive' }]);
  });

  test('/readyz tells each part, and is ready when the database has our prices', async () => {
    expect(await ready()).toEqual([200, 'ready', 'reachable', 'matches', 'reachable']);
  });

  test('C7 /readyz stays ready while Temporal is away: reads and refusals are still served', async () => {
    toTemporal.set('refuse');
    expect(await ready()).toEqual([200, 'ready', 'reachable', 'matches', 'unreachable']);
    toTemporal.set('pass');
    await until(async () => (await ready()).at(-1) === 'reachable');
  });

  test.each(['refuse', 'silence'] as const)('C9 /readyz is not ready while the database is away (%s)', async (mode) => {
    toDatabase.set(mode);
    expect((await ready()).slice(0, 4)).toEqual([503, 'not_ready', 'unreachable', 'unknown']);
    toDatabase.set('pass');
    await until(async () => (await ready())[0] === 200);
  });

  test('C9 a database that goes silent in mid-connection is 503 for a request, and soon', async () => {
    const organization = await createOrganization(database.superuser);
    expect((await api.call('/api/v1/jobs', { key: organization.secret })).status).toBe(200);
    toDatabase.set('silence');
    expectProblem(await api.call('/api/v1/jobs', { key: organization.secret }), 'database_unavailable');
    toDatabase.set('pass');
    await until(async () => (await api.call('/api/v1/jobs', { key: organization.secret })).status === 200);
  });

  test('/readyz is not ready when the database has other prices', async () => {
    await database.superuser.query("insert into tollgate.catalogue_versions (digest) values ('another')");
    expect((await ready()).slice(0, 4)).toEqual([503, 'not_ready', 'reachable', 'differs']);
    await database.superuser.query("delete from tollgate.catalogue_versions v where v.digest = 'another'");
    expect((await ready())[0]).toBe(200);
  });

  test('C6 /readyz says that the process drains', async () => {
    api.drain();
    expect((await ready()).slice(0, 2)).toEqual([503, 'draining']);
    expect((await api.call('/healthz')).status).toBe(200);
  });
});
