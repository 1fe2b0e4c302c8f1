import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LedgerBusy } from '../../db/coalescer.ts';
import { DatabaseFault } from '../../db/faults.ts';
import { type HoldRequest, holdTokens } from '../../db/holds.ts';
import { createPool } from '../../db/pool.ts';
import { readAs } from '../../db/tenant.ts';
import { startTcpProxy, type TcpProxy } from '../api/tcpProxy.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { type ObservedLedger, observedLedger } from '../support/observedLedger.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let organization: TestOrganization;
let ledger: ObservedLedger;
let ledgers: ObservedLedger[];
let unlock: (() => Promise<void>) | null;

beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  // 500 lead_generation tokens.
  organization = await createOrganization(database.superuser, 'enterprise');
  ledgers = [];
  ledger = open();
  unlock = null;
});
afterEach(async () => {
  await unlock?.();
  await Promise.all(ledgers.map(({ end }) => end()));
  await expectInvariants(database.superuser);
});

function open(options: Parameters<typeof observedLedger>[1] = {}, url = database.apiUrl): ObservedLedger {
  const opened = observedLedger(url, options);
  ledgers.push(opened);
  return opened;
}

/** Whoever moves tokens of the organization has to wait until `unlock`. */
async function lock({ organizationId } = organization): Promise<void> {
  const client = await database.superuser.connect();
  await client.query('begin');
  await client.query('select from tollgate.balances where organization_id = $1 for update', [organizationId]);
  unlock = async () => {
    unlock = null;
    await client.query('commit');
    client.release();
  };
}

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));
const request = (holdId: string, amount = 1, of = organization): HoldRequest =>
  holderOf(database.api, of).request(holdId, amount);
const hold = (holdId: string, amount = 1) => ledger.hold(request(holdId, amount));
const end = (holdId: string) => ({ ...who(), holdId });
const capture = (holdId: string, amount: number | null = null) => ledger.capture({ ...end(holdId), amount });
const release = (holdId: string) => ledger.release(end(holdId));
const check = (feature = 'generate_leads') => ledger.check({ ...who(), feature });
const who = () => ({ organizationId: organization.organizationId, principal: organization.principal });
const leads = () => balanceOf(database.superuser, organization.organizationId, 'lead_generation');

/** Each hold's state by its id, as the database has it. */
async function holds(): Promise<Record<string, string>> {
  const { rows } = await database.superuser.query(
    'select h.id, h.state from tollgate.holds h where h.organization_id = $1',
    [organization.organizationId],
  );
  return Object.fromEntries(rows.map(({ id, state }) => [id, state]));
}

describe('what is sent together', () => {
  it('an idle call goes at once and alone; what is called meanwhile goes as one statement', async () => {
    await lock();
    const first = hold('first');
    expect(ledger.statements).toEqual([['hold_tokens', 1]]);
    const others = times(40, (n) => hold(`h-${n}`));
    await unlock!();
    expect(await first).toMatchObject({ outcome: 'held', available: 499 });
    // Each caller has the answer to his own row.
    expect((await Promise.all(others)).map(({ available }) => available)).toEqual(times(40, (n) => 498 - n));
    expect(ledger.statements).toEqual([
      ['hold_tokens', 1],
      ['hold_tokens', 40],
    ]);
  });

  it('a lone caller is never kept waiting for company', async () => {
    for (const n of times(3, (n) => n))
      expect(await hold(`h-${n}`)).toMatchObject({ outcome: 'held', isRepeat: false });
    expect(ledger.statements).toEqual(times(3, () => ['hold_tokens', 1]));
  });

  it('callers who come back as soon as they are answered are one statement again', async () => {
    await lock();
    const first = hold('first');
    const callers = times(20, async (n) => {
      await hold(`h-${n}`);
      // The layers between a caller and the ledger.
      for (let layer = 0; layer < 10; layer++) await undefined;
      await capture(`h-${n}`);
    });
    await unlock!();
    await Promise.all([first, ...callers]);
    expect(ledger.statements).toEqual([
      ['hold_tokens', 1],
      ['hold_tokens', 20],
      ['capture_holds', 20],
    ]);
  });

  it('verbs take turns, a full batch at a time, however many wait of one', async () => {
    ledger = open({ maxBatch: 2 });
    await lock();
    const calls = [hold('first'), ...times(6, (n) => hold(`h-${n}`)), check(), release('none')];
    await unlock!();
    await Promise.all(calls);
    expect(ledger.statements).toEqual([
      ['hold_tokens', 1],
      ['hold_tokens', 2],
      ['check_tokens', 1],
      ['release_holds', 1],
      ['hold_tokens', 2],
      ['hold_tokens', 2],
    ]);
  });

  it('an organization whose balance is locked holds up its own lane and not the other', async () => {
    const others = await Promise.all(times(8, (n) => createOrganization(database.superuser, 'pro', `lane-${n}`)));
    for (const [lanes, expected] of [
      [2, { answered: true }],
      [1, { answered: false }],
    ] as const) {
      ledger = open({ lanes });
      await lock();
      const stuck = hold(`stuck-${lanes}`);
      let answered = 0;
      const calls = others.map((other) =>
        ledger.hold(request(`of-${lanes}`, 1, other)).then(() => {
          answered += 1;
        }),
      );
      // What is sent is answered: nobody locks the others.
      await until(() => answered === ledger.statements.reduce((rows, [, more]) => rows + more, -1));
      expect({ answered: answered > 0 }).toEqual(expected);
      await unlock!();
      await Promise.all([stuck, ...calls]);
    }
  });
});

describe('calls for one hold', () => {
  it('take effect in the order in which they were called, though another verb has its turn first', async () => {
    for (const id of ['a', 'b', 'c']) await hold(id);
    await lock();
    const first = hold('first');
    const calls = [capture('c'), release('a'), capture('a'), release('a'), capture('b', 2), release('b'), capture('b')];
    const placed = [hold('d'), capture('d'), hold('e'), release('e')];
    await unlock!();
    await first;
    expect((await Promise.all(calls)).map(({ outcome }) => outcome)).toEqual([
      'captured',
      ...['released', 'hold_released', 'released'],
      ...['amount_above_hold', 'released', 'hold_released'],
    ]);
    expect((await Promise.all(placed)).map(({ outcome }) => outcome)).toEqual(['held', 'captured', 'held', 'released']);
    expect(await holds()).toMatchObject({ a: 'released', b: 'released', c: 'captured', d: 'captured', e: 'released' });
  });

  it('keep that order when the statement before theirs failed', async () => {
    await lock();
    const first = hold('first');
    // Expected from the start: it may fail before the balance's lock is given back to here.
    const broken = expect(hold('nul\0')).rejects.toThrow();
    const calls = [hold('a'), capture('a', 2), release('a')];
    await unlock!();
    await broken;
    expect((await Promise.all([first, ...calls])).map(({ outcome }) => outcome)).toEqual([
      ...['held', 'held', 'amount_above_hold', 'released'],
    ]);
  });
});

describe('C12: one bad row of 64', () => {
  it.each([
    ['an id that PostgreSQL cannot store', () => request('nul\0')],
    ['an amount beyond bigint', () => request('large', 2 ** 70)],
    ['an amount that is no number', () => request('word', 'much' as never)],
    ['a value that cannot be sent at all', () => request('symbol', Symbol('much') as never)],
  ])('%s: the other 63 are done, in their order, and the error is its caller’s alone', async (_, bad) => {
    await lock();
    const first = hold('first');
    const calls = times(64, (n) => ledger.hold(n === 37 ? bad() : request(`h-${n}`)));
    const settled = Promise.allSettled(calls);
    await unlock!();
    await first;
    const outcomes = (await settled).map((call) => (call.status === 'fulfilled' ? call.value : null));
    expect(outcomes.map((answer) => answer?.outcome ?? null)).toEqual(times(64, (n) => (n === 37 ? null : 'held')));
    expect(outcomes.map((answer) => answer?.available ?? null)).toEqual(
      times(64, (n) => (n === 37 ? null : 498 - n + (n > 37 ? 1 : 0))),
    );
    await expect(calls[37]).rejects.not.toBeInstanceOf(DatabaseFault);
    expect(await leads()).toMatchObject({ held: 64, available: 436 });
  });
});

describe('a full queue', () => {
  it('refuses with LedgerBusy, does nothing of it, and takes calls again when there is room', async () => {
    ledger = open({ maxQueued: 3 });
    await lock();
    const taken = times(4, (n) => hold(`h-${n}`));
    for (const call of [hold('over'), check(), capture('h-0')]) await expect(call).rejects.toBeInstanceOf(LedgerBusy);
    await unlock!();
    expect((await Promise.all(taken)).map(({ outcome }) => outcome)).toEqual(times(4, () => 'held'));
    expect(await hold('after')).toMatchObject({ outcome: 'held' });
    expect(Object.keys(await holds()).sort()).toEqual(['after', 'h-0', 'h-1', 'h-2', 'h-3']);
  });

  it('counts everybody who waits, also for a row that is shared', async () => {
    ledger = open({ maxQueued: 3 });
    await lock();
    const taken = [hold('first'), check(), check(), check()];
    await expect(check()).rejects.toBeInstanceOf(LedgerBusy);
    await unlock!();
    await Promise.all(taken);
    expect(await check()).toMatchObject({ outcome: 'sufficient' });
  });
});

describe('C11: closing', () => {
  it('answers what is in flight, refuses what waits and what comes, and nothing of that was done', async () => {
    await hold('a');
    await lock();
    const inFlight = hold('first');
    const waiting = [hold('second'), capture('a'), release('a'), check()];
    const refused = Promise.all(waiting.map((call) => expect(call).rejects.toBeInstanceOf(LedgerBusy)));
    let isClosed = false;
    const closing = ledger.close().then(() => {
      isClosed = true;
    });
    await refused;
    await expect(hold('late')).rejects.toBeInstanceOf(LedgerBusy);
    expect(isClosed).toBe(false);
    await unlock!();
    await closing;
    expect(await inFlight).toMatchObject({ outcome: 'held' });
    expect(await holds()).toEqual({ a: 'held', first: 'held' });
    expect(ledger.statements.slice(1)).toEqual([['hold_tokens', 1]]);
  });
});

describe('C4: a connection that is lost', () => {
  let proxy: TcpProxy;
  beforeEach(async () => {
    const url = new URL(database.apiUrl);
    proxy = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
    url.hostname = '127.0.0.1';
    url.port = `${proxy.port}`;
    ledger = open({}, url.href);
  });
  afterEach(() => proxy.close());

  /** Our connections in this state, and when each came into it, by pg_stat_activity. */
  async function connections(state: 'active' | 'idle'): Promise<{ pid: number; since: string }[]> {
    const { rows } = await database.superuser.query(
      `select a.pid, a.state_change::text as since from pg_stat_activity a where a.application_name = $1 and a.state = $2`,
      [ledger.applicationName, state],
    );
    return rows;
  }

  it('before the commit: the batch is sent again, and each row is done once', async () => {
    await lock();
    const first = hold('first');
    const others = times(20, (n) => hold(`h-${n}`, 2));
    const { pid } = await until(async () => (await connections('active'))[0]);
    await database.superuser.query('select pg_terminate_backend($1)', [pid]);
    await until(async () => (await connections('active')).some((other) => other.pid !== pid));
    await unlock!();
    expect(await first).toMatchObject({ outcome: 'held', isRepeat: false });
    expect(new Set((await Promise.all(others)).map(({ outcome }) => outcome))).toEqual(new Set(['held']));
    expect(await leads()).toMatchObject({ available: 459, held: 41 });
  });

  it('after the commit: the answer is looked up by id, is no error, and nothing is done twice', async () => {
    for (const id of ['a', 'b', 'c']) await hold(id, 10);
    proxy.set('lose_answers');
    const calls = [hold('first', 5), capture('a', 4), capture('b'), release('c'), check()] as const;
    await until(async () => (await holds()).first === 'held');
    proxy.set('pass');
    expect(await Promise.all(calls)).toMatchObject([
      // It found the hold of its own first try.
      { outcome: 'held', isRepeat: true, tokenType: 'lead_generation', available: 465, expiresAt: expect.any(Date) },
      { outcome: 'captured', isRepeat: false, captured: 4, returned: 6 },
      { outcome: 'captured', isRepeat: false, captured: 10, returned: 0 },
      { outcome: 'released', isRepeat: false, captured: 0, returned: 10 },
      { outcome: 'sufficient' },
    ]);
    expect(await leads()).toMatchObject({ available: 481, held: 5 });
  });

  it.each([
    ['a capture', () => capture('a', 4), 'captured', 4, { available: 496, held: 0 }],
    ['a release', () => release('a'), 'released', 0, { available: 500, held: 0 }],
  ] as const)('after the commit of %s: it has ended so, once', async (_, send, outcome, captured, left) => {
    await hold('a', 10);
    proxy.set('lose_answers');
    const call = send();
    await until(async () => (await holds()).a === outcome);
    proxy.set('pass');
    expect(await call).toMatchObject({ outcome, isRepeat: true, captured, returned: 10 - captured });
    expect(await leads()).toMatchObject(left);
  });

  it('again and again: a bounded number of tries, then a DatabaseFault for each caller; later the id tells what was done', async () => {
    await lock();
    const calls = times(3, (n) => hold(`h-${n}`));
    const faults = Promise.all(calls.map((call) => expect(call).rejects.toBeInstanceOf(DatabaseFault)));
    await until(async () => (await connections('active')).length === 1);
    proxy.set('refuse');
    await faults;
    // One try and four repeats of what was sent; what never had a connection was not.
    expect(ledger.statements).toEqual([...times(5, () => ['hold_tokens', 1]), ['hold_tokens', 2]]);
    await unlock!();
    proxy.set('pass');
    expect(await hold('h-1')).toMatchObject({ outcome: 'held' });
    expect(await hold('h-0')).toMatchObject({ outcome: 'held' });
    expect(await holds()).toMatchObject({ 'h-0': 'held', 'h-1': 'held' });
    expect(await leads()).toMatchObject({ held: 2 });
  });

  it('in doubt, and then nobody is there: it stays in doubt, and is tried as often', async () => {
    const url = new URL(database.apiUrl);
    const gone = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
    url.port = `${gone.port}`;
    ledger = open({}, url.href);
    await lock();
    const fault = expect(hold('h')).rejects.toBeInstanceOf(DatabaseFault);
    await until(async () => (await connections('active')).length === 1);
    await gone.close();
    await fault;
    expect(ledger.statements).toEqual(times(5, () => ['hold_tokens', 1]));
  });

  it('a connection that never came to be is told at once: nothing is in doubt', async () => {
    ledger = open({}, 'postgres://nobody@127.0.0.1:1/nothing');
    await expect(hold('h')).rejects.toBeInstanceOf(DatabaseFault);
    expect(ledger.statements).toHaveLength(1);
  });

  it('no connection is free in time: nothing was sent, so nothing is in doubt', async () => {
    const pool = createPool({ url: database.apiUrl, applicationName: 'full', maxConnections: 1 });
    const taken = await pool.connect();
    pool.options.connectionTimeoutMillis = 50;
    const row = { ...organization, holdId: 'unsent', feature: 'generate_leads', amount: 1, lifetimeMs: 1_000 } as const;
    await expect(holdTokens(pool, [row])).rejects.toMatchObject({ name: 'DatabaseFault', isInDoubt: false });
    await expect(readAs(pool, [organization.organizationId], async () => 0)).rejects.toMatchObject({
      isInDoubt: false,
    });
    taken.release();
    expect(await holdTokens(pool, [row])).toMatchObject([{ outcome: 'held', isRepeat: false }]);
    await pool.end();
  });

  it('an equal check that is in flight is not shared: no answer is older than its call', async () => {
    await check();
    proxy.set('delay_answers');
    const [before] = await connections('idle');
    const early = check();
    // Its answer is made, and on its way.
    await until(async () => (await connections('idle')).some(({ since }) => since !== before!.since));
    await holderOf(database.api, organization).hold('all', 500);
    const late = [check(), check()];
    proxy.set('pass');
    expect(await early).toMatchObject({ outcome: 'sufficient', available: 500 });
    for (const answer of await Promise.all(late))
      expect(answer).toMatchObject({ outcome: 'tokens_insufficient', available: 0 });
  });
});

describe('checks that wait together', () => {
  it('share a row where they are equal, and only there', async () => {
    const other = await createOrganization(database.superuser, 'enterprise');
    await database.superuser.query(`insert into user_profiles (id, organization_id) values ('ann', $1)`, [
      organization.organizationId,
    ]);
    ledger = open({ lanes: 1 });
    await lock();
    const first = hold('first', 400);
    const calls = [
      ...times(10, () => check()),
      check('generate_goal'),
      ledger.check({ ...who(), principal: 'user:ann', feature: 'generate_leads' }),
      ledger.check({ organizationId: other.organizationId, principal: other.principal, feature: 'generate_leads' }),
      ledger.check({ ...who(), principal: other.principal, feature: 'generate_leads' }),
    ];
    await unlock!();
    await first;
    expect((await Promise.all(calls)).map(({ outcome, available }) => [outcome, available])).toEqual([
      ...times(10, () => ['sufficient', 100]),
      ...[
        ['sufficient', expect.any(Number)],
        ['sufficient', 100],
        ['sufficient', 500],
        ['not_a_member', null],
      ],
    ]);
    expect(ledger.statements).toEqual([
      ['hold_tokens', 1],
      ['check_tokens', 5],
    ]);
  });
});
