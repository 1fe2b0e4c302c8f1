import { chown, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import type { Reply } from '../api/testApi.ts';
import { until } from '../support/until.ts';
import { type CrashingPostgres, startCrashingPostgres } from './crashingPostgres.ts';
import { expectUnavailable, FLOOD, type LedgerOverHttp, ledgerOverHttp, MAX_QUEUED } from './ledgerOverHttp.ts';

// A server is started and restarted, and what waits for a connection or a lock does so for seconds.
vi.setConfig({ testTimeout: 60_000 });

let postgres: CrashingPostgres;
let ledger: LedgerOverHttp;

beforeAll(async () => {
  postgres = await startCrashingPostgres({ fsync: 'off', max_connections: '24' });
});
afterAll(() => postgres.remove());
beforeEach(async () => {
  ledger = await ledgerOverHttp(postgres);
});
afterEach(() => ledger.close());

describe('C9: a database that cannot be written to: 503, nothing moved, and it recovers alone', () => {
  test('default_transaction_read_only', async () => {
    const open = await ledger.hold();
    const makeReadOnly = async (value: 'on' | 'off') => {
      await postgres.superuser.query(`alter system set default_transaction_read_only = ${value}`);
      await postgres.superuser.query('select pg_reload_conf()');
      await until(async () => {
        const { rows } = await ledger.api.pool.query(
          `select current_setting('default_transaction_read_only') as is_on`,
        );
        return rows[0].is_on === value;
      });
    };
    // Also when the test has failed: the others use this server.
    onTestFinished(async () => {
      await postgres.superuser.query('alter system reset default_transaction_read_only');
      await postgres.superuser.query('select pg_reload_conf()');
    });
    await makeReadOnly('on');
    await ledger.expectFailsClosed(open);
    await makeReadOnly('off');
    await ledger.expectRecovery(open);
  });

  test('a standby, until it is promoted', async () => {
    const open = await ledger.hold();
    const signal = join(postgres.dataDirectory, 'standby.signal');
    await postgres.shutDown();
    const { uid, gid } = await stat(postgres.dataDirectory);
    await writeFile(signal, '');
    await chown(signal, uid, gid);
    await postgres.start();
    await ledger.expectFailsClosed(open);
    await postgres.superuser.query('select pg_promote()');
    await ledger.expectRecovery(open);
  });

  test('a server that is starting up, or not there', async () => {
    const open = await ledger.hold();
    const before = await ledger.traces();
    await postgres.kill();
    for (const reply of await Promise.all(Array.from({ length: FLOOD }, () => ledger.hold()))) expectUnavailable(reply);
    const starting = postgres.start();
    await ledger.expectRecovery(open);
    await starting;
    expect(await ledger.traces()).toMatchObject({ holds: before.holds + 1 + MAX_QUEUED });
  });
});

describe('C9: no connection to be had: 503, nothing moved, and it recovers alone', () => {
  test('the server has too many', async () => {
    const open = await ledger.hold();
    const others: pg.Client[] = [];
    // Ours are closed, as an idle one is after a while, and the others are faster.
    await postgres.superuser.query(
      `select pg_terminate_backend(a.pid) from pg_stat_activity a where a.usename = 'tollgate_api'`,
    );
    await until(() => ledger.api.pool.totalCount === 0);
    for (let isFull = false; !isFull; ) {
      const client = new pg.Client({ connectionString: postgres.urls.worker });
      client.on('error', () => {});
      await client.connect().then(
        () => void others.push(client),
        (error) => {
          expect(error).toMatchObject({ code: '53300' });
          isFull = true;
        },
      );
    }
    await ledger.expectFailsClosed(open);
    await Promise.all(others.map((client) => client.end()));
    await ledger.expectRecovery(open);
  });

  test('the pool has none left: who waits is told after seconds, and nobody waits for ever', async () => {
    const open = await ledger.hold();
    const taken = await Promise.all(
      Array.from({ length: ledger.api.pool.options.max }, () => ledger.api.pool.connect()),
    );
    await ledger.expectFailsClosed(open);
    expect(ledger.api.pool.waitingCount).toBe(0);
    for (const client of taken) client.release();
    await ledger.expectRecovery(open);
  });

  test('a balance that somebody keeps locked: as many wait as may, the others are told at once', async () => {
    const open = await ledger.hold();
    const before = await ledger.traces();
    // Not of our pools, whose transactions may not idle for so long.
    const locker = new pg.Client({ connectionString: postgres.urls.superuser });
    await locker.connect();
    await locker.query('begin');
    await locker.query('select from tollgate.balances b where b.organization_id = $1 for update', [
      ledger.organization.organizationId,
    ]);
    const replies: Reply[] = [];
    const all = Array.from({ length: FLOOD }, () => ledger.hold().then((reply) => replies.push(reply)));
    await Promise.all(all);
    for (const reply of replies) expectUnavailable(reply);
    expect(replies.filter(({ body }) => body.code === 'ledger_busy').length).toBeGreaterThan(0);
    expect(replies.filter(({ body }) => body.code === 'database_unavailable').length).toBeLessThanOrEqual(
      2 * MAX_QUEUED + 1,
    );
    await locker.end();
    expect(await ledger.traces()).toEqual(before);
    await ledger.expectRecovery(open);
  });
});
