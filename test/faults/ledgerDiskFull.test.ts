import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Reply } from '../api/testApi.ts';
import { expectInvariants } from '../support/invariants.ts';
import { until } from '../support/until.ts';
import { type CrashingPostgres, startCrashingPostgres } from './crashingPostgres.ts';
import { expectUnavailable, type LedgerOverHttp, ledgerOverHttp } from './ledgerOverHttp.ts';
import { mountSmallDisk, type SmallDisk, whyNoSmallDisk } from './smallDisk.ts';

vi.setConfig({ testTimeout: 60_000 });

const reason = whyNoSmallDisk();
if (reason !== null) console.warn(`SKIPPED: C9, a full disk is not tried: ${reason}.`);

describe.skipIf(reason !== null)('C9: a full disk: 503, nothing moved, and it recovers alone', () => {
  let postgres: CrashingPostgres;
  let ledger: LedgerOverHttp;
  const disks: SmallDisk[] = [];
  beforeAll(async () => {
    postgres = await startCrashingPostgres({ fsync: 'off' });
  });
  afterAll(async () => {
    await postgres.shutDown();
    for (const disk of disks) await disk.unmount();
    await postgres.remove();
  });
  beforeEach(async () => {
    ledger = await ledgerOverHttp(postgres);
  });
  afterEach(() => ledger.close());

  async function mount(name: string, megabytes: number): Promise<SmallDisk> {
    const disk = await mountSmallDisk(
      `${postgres.dataDirectory}.${name}`,
      megabytes,
      await stat(postgres.dataDirectory),
    );
    disks.push(disk);
    return disk;
  }

  test('of the tables', async () => {
    const disk = await mount('tables', 64);
    await postgres.superuser.query(`create tablespace small location '${disk.path}'`);
    const server = new pg.Client({ connectionString: postgres.superuserUrl() });
    await server.connect();
    // It cannot move while somebody is connected; pools come back by themselves.
    await server.query('alter database tollgate allow_connections false');
    await server.query(`select pg_terminate_backend(a.pid) from pg_stat_activity a where a.datname = 'tollgate'`);
    await until(async () => {
      const { rowCount } = await server.query(`select from pg_stat_activity a where a.datname = 'tollgate'`);
      return rowCount === 0;
    });
    await server.query('alter database tollgate set tablespace small');
    await server.query('alter database tollgate allow_connections true');
    await server.end();

    const open = await ledger.hold();
    expect(open.status).toBe(201);
    await disk.fill();
    // What still fits into pages that are there is held.
    const keys = Array.from({ length: 400 }, () => randomUUID());
    const replies = new Map<string, Reply>();
    for (const key of keys) {
      const reply = await ledger.hold(key);
      replies.set(key, reply);
      if (reply.status !== 201) break;
    }
    const [full] = [...replies.values()].slice(-1);
    expectUnavailable(full!);
    expect(ledger.api.logLines.some((line) => line.includes('53100'))).toBe(true);
    const held = [...replies.values()].filter(({ status }) => status === 201).length;
    expect(await ledger.traces()).toMatchObject({ holds: 1 + held });
    await expectInvariants(postgres.superuser);

    await disk.clear();
    await ledger.expectRecovery(open);
    const [key] = [...replies.keys()].slice(-1);
    expect(await ledger.hold(key!)).toMatchObject({ status: 201 });
  });

  // PostgreSQL does not go on without its log: it ends all connections, and itself when it cannot recover.
  test('of the write-ahead log: what was acknowledged is there', async () => {
    const disk = await mount('log', 256);
    const log = join(postgres.dataDirectory, 'pg_wal');
    await postgres.shutDown();
    await promisify(execFile)('cp', ['-a', `${log}/.`, disk.path]);
    await rm(log, { recursive: true });
    await symlink(disk.path, log);
    await postgres.start();

    const open = await ledger.hold();
    await disk.fill();
    const held: string[] = [];
    let lost: string | null = null;
    while (lost === null) {
      // To the end of each file of the log, until there is no room for another.
      await postgres.superuser.query('select pg_switch_wal()').catch(() => {});
      const key = randomUUID();
      const reply = await ledger.hold(key);
      if (reply.status === 201) held.push(key);
      else {
        expectUnavailable(reply);
        lost = key;
      }
    }
    await disk.clear();
    await until(async () => {
      // Whoever watches over it does that: the stack's supervisor, systemd, a container's restart policy.
      if (!postgres.isRunning()) await postgres.start();
      return (await ledger.hold(lost)).status === 201;
    }, 30_000);
    for (const key of held) {
      const repeat = await ledger.hold(key);
      expect([repeat.status, repeat.headers.get('idempotent-replayed')]).toEqual([201, 'true']);
    }
    expect(await ledger.traces()).toMatchObject({ holds: 1 + held.length + 1 });
    await ledger.expectRecovery(open);
  });
});
