import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { seededRandom } from '../../dev/seededRandom.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { addGrant } from '../support/grant.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';
import type { CoalescingLine } from './coalescingProcess.ts';

// Processes are started, and killed, one after the other.
vi.setConfig({ testTimeout: 60_000 });

let database: TestDatabase;
let organizations: TestOrganization[];
let count = 0;

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  organizations = [];
  for (let n = 0; n < 3; n++) {
    const organization = await createOrganization(database.superuser, 'enterprise');
    await addGrant(database.superuser, organization.organizationId, { amount: 1_000_000 });
    organizations.push(organization);
  }
});
afterEach(() => expectInvariants(database.superuser));

async function startProcess(callers: number) {
  count += 1;
  const name = `coalescing-${count}`;
  const folder = await mkdtemp(join(tmpdir(), 'tollgate-coalescing-'));
  const path = join(folder, 'lines');
  const file = await open(path, 'w');
  const child = spawn(process.execPath, [fileURLToPath(new URL('./coalescingProcess.ts', import.meta.url))], {
    env: {
      PATH: process.env.PATH,
      DATABASE_URL: database.apiUrl,
      NAME: name,
      CALLERS: `${callers}`,
      ORGANIZATIONS: JSON.stringify(organizations),
    },
    stdio: ['ignore', file.fd, 'inherit'],
  });
  await file.close();
  const ended = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGKILL');
    await ended;
    await rm(folder, { recursive: true });
  });
  return {
    lines: async (): Promise<CoalescingLine[]> =>
      (await readFile(path, 'utf8'))
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line)),
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    /** Its statements in flight, as the server sees them. */
    backends: async (): Promise<number[]> => {
      const { rows } = await database.superuser.query(
        `select a.pid from pg_stat_activity a where a.application_name = $1 and a.state = 'active'`,
        [name],
      );
      return rows.map(({ pid }) => pid);
    },
    /** State by hold id, of what it placed. */
    holds: async (): Promise<Map<string, string>> => {
      const { rows } = await database.superuser.query(
        `select h.id, h.state from tollgate.holds h where h.id like $1 || '-%'`,
        [name],
      );
      return new Map(rows.map(({ id, state }) => [id, state]));
    },
  };
}
type Process = Awaited<ReturnType<typeof startProcess>>;

/** Compares what the process wrote with what is there, and tells how many calls were in which state when it died. */
async function settle(child: Process) {
  // The server finishes a statement although nobody waits for its answer.
  await until(async () => (await child.backends()).length === 0);
  const [lines, holds] = [await child.lines(), await child.holds()];
  const isDone = (verb: string, holdId: string) =>
    verb === 'hold' ? holds.has(holdId) : holds.get(holdId) === 'captured';

  const open = new Map<string, 'called' | 'sent'>();
  const batches: { verb: string; holdIds: string[] }[] = [];
  for (const line of lines) {
    if (line.event === 'sent') {
      batches.push(line);
      for (const holdId of line.holdIds) open.set(`${line.verb} ${holdId}`, 'sent');
      continue;
    }
    const call = `${line.verb} ${line.holdId}`;
    if (line.event === 'called') open.set(call, 'called');
    else {
      expect(line.outcome).toBe(line.verb === 'hold' ? 'held' : 'captured');
      expect({ call, isDone: isDone(line.verb, line.holdId) }).toEqual({ call, isDone: true });
      open.delete(call);
    }
  }
  const queued = [...open].filter(([, state]) => state === 'called').map(([call]) => call);
  for (const call of queued) {
    const [verb, holdId] = call.split(' ');
    expect({ call, isDone: isDone(verb!, holdId!) }).toEqual({ call, isDone: false });
  }
  for (const { verb, holdIds } of batches) {
    const done = holdIds.filter((holdId) => isDone(verb, holdId)).length;
    expect([0, holdIds.length]).toContain(done);
  }
  return { queued: queued.length, inFlight: open.size - queued.length, answered: lines.length, holds };
}

describe('C11: a process is killed with SIGKILL while calls wait in it', () => {
  /** Ends it with one hold of each organization's lane at the server, and all others queued. */
  async function killAtLock(callers: number): Promise<{ child: Process; unlock: () => Promise<void> }> {
    const locker = new pg.Client({ connectionString: database.superuserUrl });
    await locker.connect();
    onTestFinished(() => locker.end());
    await locker.query('begin');
    await locker.query('select from tollgate.balances for update');
    const child = await startProcess(callers);
    await until(async () => {
      const lines = await child.lines();
      const sent = lines.filter(({ event }) => event === 'sent').length;
      return lines.length === callers + sent && (await child.backends()).length === sent;
    });
    await child.kill();
    return { child, unlock: async () => void (await locker.query('rollback')) };
  }

  it('the statement in flight is finished by the server, whole; what was queued did nothing', async () => {
    const { child, unlock } = await killAtLock(40);
    await unlock();
    const { queued, inFlight, holds } = await settle(child);
    expect(queued).toBe(40 - inFlight);
    expect(inFlight).toBeGreaterThan(0);
    expect(holds.size).toBe(inFlight);
  });

  it('the statement in flight is lost with its connection: nothing at all was done', async () => {
    const { child, unlock } = await killAtLock(40);
    for (const pid of await child.backends()) await database.superuser.query('select pg_terminate_backend($1)', [pid]);
    await until(async () => (await child.backends()).length === 0);
    await unlock();
    expect(await settle(child)).toMatchObject({ holds: new Map() });
  });

  it('at any moment: what was answered is there, each statement is there whole or not at all, the rest is not', async () => {
    const seed = Math.floor(Math.random() * 1_000_000);
    console.log(`seed ${seed}`);
    const random = seededRandom(seed);
    for (let time = 0; time < 5; time++) {
      const child = await startProcess(200);
      const enough = 1_000 + random() * 4_000;
      await until(async () => (await child.lines()).length > enough);
      await child.kill();
      // What stood in the queue then did nothing: settle() has looked. How many there were is chance.
      expect((await settle(child)).answered).toBeGreaterThan(0);
    }
  });
});
