import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { admitJob, beginJob, commitJob, storeResult } from '../../db/jobs.ts';
import { admissionOf } from '../support/admission.ts';
import { boundariesBetween, boundaryAfter } from '../support/calendar.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant, grantsOf } from '../support/grant.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';
import { startedOn } from '../support/startedOn.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

async function newHolder(plan: 'pro' | 'starter' = 'pro'): Promise<{ organization: TestOrganization; holder: Holder }> {
  const organization = await createOrganization(database.superuser, plan);
  return { organization, holder: holderOf(database.api, organization) };
}
const leads = ({ organizationId }: TestOrganization) =>
  balanceOf(database.superuser, organizationId, 'lead_generation');

/** What a reader sees, who settles nothing. */
async function seen({ organizationId }: TestOrganization) {
  const { rows } = await database.superuser.query(
    `select balance, total_allocated, refresh_date from ai_tokens where organization_id = $1 and token_type = 'lead_generation'`,
    [organizationId],
  );
  return rows[0] as { balance: number; total_allocated: number; refresh_date: Date };
}

/** Settles and moves nothing else: a hold that cannot be. */
const look = (holder: Holder) => holder.hold('too-much', 1_000_000);

async function setPlan({ organizationId }: TestOrganization, plan: string): Promise<void> {
  await database.superuser.query('update organizations set plan = $2 where id = $1', [organizationId, plan]);
}

describe('I8: time is effective by itself, for a reader and for the next call', () => {
  it('a hold lapses', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 50);
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    expect((await seen(organization)).balance).toBe(50);
    expect(await look(holder)).toMatchObject({ available: 50 });
    expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
  });

  it('a grant expires', async () => {
    const { organization, holder } = await newHolder();
    await addGrant(database.superuser, organization.organizationId, { amount: 7, expiresIn: '1 hour' });
    expect((await seen(organization)).balance).toBe(57);
    await elapse(database.superuser, organization.organizationId, '1 hour');
    expect((await seen(organization)).balance).toBe(50);
    expect(await look(holder)).toMatchObject({ available: 50 });
    expect((await grantsOf(database.superuser, organization.organizationId))[1]).toMatchObject({
      remaining: 0,
      expired: 7,
    });
  });

  it('a period ends: what is left of the allowance is gone, the next one is there', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    await holder.capture('h');
    const { refresh_date: first } = await seen(organization);
    await elapse(database.superuser, organization.organizationId, '31 days');
    const view = await seen(organization);
    expect(view).toMatchObject({ balance: 50, total_allocated: 50 });
    expect(view.refresh_date.getTime()).toBeGreaterThan(Date.now());
    expect(first.getTime() - 31 * 86_400_000).toBeLessThanOrEqual(Date.now());
    expect(await look(holder)).toMatchObject({ available: 50 });
    expect(await seen(organization)).toEqual(view);
    expect(await grantsOf(database.superuser, organization.organizationId)).toMatchObject([
      { amount: 50, remaining: 0, expired: 30 },
      { amount: 50, remaining: 50, expired: 0 },
    ]);
  });

  it('a grant that was empty when the balance last looked ahead still expires on time', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await addGrant(database.superuser, organizationId, { amount: 5, priority: 1, expiresIn: '3 days' });
    await holder.hold('long', 5, { lifetimeMs: 20 * 86_400_000 });
    await holder.hold('short', 5);
    await elapse(database.superuser, organizationId, '1 day');
    await look(holder);
    await holder.release('long');
    expect((await seen(organization)).balance).toBe(55);
    await elapse(database.superuser, organizationId, '2 days');
    expect((await seen(organization)).balance).toBe(50);
    expect(await look(holder)).toMatchObject({ available: 50 });
  });

  it('a clock that steps back takes nothing back: what was settled stays settled', async () => {
    const { organization, holder } = await newHolder();
    // As if everything so far had happened on a clock that was an hour ahead.
    await elapse(database.superuser, organization.organizationId, '-1 hours');
    const { expiresAt } = await holder.hold('h', 5);
    expect(expiresAt!.getTime()).toBeGreaterThan(Date.now() + 3_600_000);
    expect(await holder.capture('h')).toMatchObject({ outcome: 'captured' });
  });
});

describe('T3: nobody looked for three periods', () => {
  it('each is made up once, in order, and unused allowances do not pile up', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    // Three boundaries lie within 100 days of any day of the year, and never four.
    await elapse(database.superuser, organizationId, '100 days');
    expect(await seen(organization)).toMatchObject({ balance: 50, total_allocated: 50 });
    expect(await holder.hold('h', 5)).toMatchObject({ outcome: 'held', available: 45 });

    const grants = await grantsOf(database.superuser, organizationId);
    expect(grants.map(({ amount, remaining, expired }) => [amount, remaining, expired])).toEqual([
      [50, 0, 50],
      [50, 0, 50],
      [50, 0, 50],
      [50, 45, 0],
    ]);
    expect(grants.slice(1).map(({ periodStart }) => periodStart)).toEqual(
      grants.slice(0, -1).map(({ expiresAt }) => expiresAt),
    );
    const { rows } = await database.superuser.query(
      `select e.kind, e.amount from tollgate.ledger_entries e
        where e.organization_id = $1 and e.token_type = 'lead_generation' order by e.entry_number`,
      [organizationId],
    );
    expect(rows.map(({ kind }) => kind)).toEqual([
      'grant',
      'expire',
      'grant',
      'expire',
      'grant',
      'expire',
      'grant',
      'hold',
    ]);
    const outbox = await database.superuser.query(
      `select o.content ->> 'periodStart' as start from tollgate.outbox o
        where o.organization_id = $1 and o.kind = 'allowance_refreshed' and o.subject_id = 'lead_generation' order by o.id`,
      [organizationId],
    );
    expect(outbox.rows.map(({ start }) => new Date(start))).toEqual(
      grants.slice(1).map(({ periodStart }) => periodStart),
    );
  });

  it('a debt takes from each made-up allowance until it is paid', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await setPlan(organization, 'enterprise');
    const jobs = Array.from({ length: 24 }, (_, n) => `job-${n}`);
    for (const jobId of jobs) {
      await admitJob(database.api, admissionOf(organization, jobId));
      await beginJob(database.worker, organizationId, jobId);
      await storeResult(database.worker, organizationId, jobId, {}, {});
    }
    await elapse(database.superuser, organizationId, '2 days');
    await database.superuser.query('update ai_tokens set balance = 0 where organization_id = $1', [organizationId]);
    for (const jobId of jobs) await commitJob(database.worker, organizationId, jobId);
    expect(await leads(organization)).toEqual({ available: 0, held: 0, owed: 120 });

    await setPlan(organization, 'pro');
    await elapse(database.superuser, organizationId, '100 days');
    expect((await seen(organization)).balance).toBe(30);
    expect(await look(holder)).toMatchObject({ available: 30 });
    expect(await leads(organization)).toEqual({ available: 30, held: 0, owed: 0 });
  });
});

describe('T1, T2: the calendar', () => {
  const anchors: [anchor: string, zone: string][] = [
    ['2024-01-31T10:00:00Z', 'UTC'],
    ['2025-01-30T10:00:00Z', 'UTC'],
    ['2025-01-29T10:00:00Z', 'UTC'],
    ['2024-02-29T00:00:00Z', 'UTC'],
    ['2025-12-31T23:59:59.999Z', 'UTC'],
    // Half past two on the night in which Berlin has no such time (30 March 2025) and on one in which it has two (26 October).
    ['2025-01-30T01:30:00Z', 'Europe/Berlin'],
    ['2025-08-26T00:30:00Z', 'Europe/Berlin'],
    // The last of the month there, the first of the next one in UTC.
    ['2025-02-01T04:30:00Z', 'America/New_York'],
  ];
  it.each(anchors)(
    'periods from %s in %s follow the oracle up to now: none skipped, none twice',
    async (anchor, zone) => {
      const { organization, holder } = await newHolder();
      await startedOn(database.superuser, organization.organizationId, anchor, zone);
      const expected = boundariesBetween(new Date(anchor), zone, new Date(anchor), new Date());
      await look(holder);
      const grants = await grantsOf(database.superuser, organization.organizationId);
      expect(grants.map(({ periodStart }) => periodStart!.toISOString())).toEqual(
        [new Date(anchor), ...expected].map((instant) => instant.toISOString()),
      );
      expect((await seen(organization)).refresh_date).toEqual(boundaryAfter(new Date(anchor), zone, new Date()));
      expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
    },
  );

  it('31 January is followed by 28 February and then by 31 March', () => {
    const days = boundariesBetween(
      new Date('2025-01-31T10:00:00Z'),
      'UTC',
      new Date('2025-01-31T10:00:00Z'),
      new Date('2026-03-31T10:00:00Z'),
    );
    expect(days.map((day) => day.toISOString().slice(0, 10))).toEqual(
      ['02-28', '03-31', '04-30', '05-31', '06-30', '07-31', '08-31', '09-30', '10-31', '11-30', '12-31']
        .map((day) => `2025-${day}`)
        .concat('2026-01-31', '2026-02-28', '2026-03-31'),
    );
  });

  it('any anchor in any zone gives the boundaries of the oracle', async () => {
    const instant = fc.date({ min: new Date('2015-01-01'), max: new Date('2025-12-31'), noInvalidDate: true });
    const zone = fc.constantFrom(
      ...[
        'UTC',
        'Europe/Berlin',
        'America/New_York',
        'America/Los_Angeles',
        'Australia/Lord_Howe',
        'Asia/Kathmandu',
        'Pacific/Auckland',
      ],
    );
    const monthEnds = fc
      .tuple(fc.integer({ min: 2015, max: 2025 }), fc.nat(11), fc.integer({ min: -3, max: 1 }), fc.nat(86_399_999))
      .map(([year, month, day, milliseconds]) => new Date(Date.UTC(year, month, day, 0, 0, 0, milliseconds)));
    await fc.assert(
      fc.asyncProperty(fc.oneof(instant, monthEnds), zone, instant, async (anchor, timeZone, after) => {
        const { rows } = await database.superuser.query(
          `with recursive boundaries as (
             select 1 as n, tollgate.next_boundary($1, $2, $3) as at
             union all
             select b.n + 1, tollgate.next_boundary($1, $2, b.at) from boundaries b where b.n < 15
           )
           select array_agg(b.at order by b.n) as all from boundaries b`,
          [anchor, timeZone, after],
        );
        const expected: Date[] = [];
        for (let last = after; expected.length < 15; ) {
          last = boundaryAfter(anchor, timeZone, last);
          expected.push(last);
        }
        expect((rows[0].all as Date[]).map((at) => at.toISOString())).toEqual(expected.map((at) => at.toISOString()));
      }),
      { numRuns: 150 },
    );
  });
});

describe('R12, T5: holds over the end of a period', () => {
  it('are honoured: a capture charges what was set aside, and the new allowance is whole', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('over', 20, { lifetimeMs: 40 * 86_400_000 });
    await elapse(database.superuser, organization.organizationId, '31 days');
    expect(await holder.capture('over', 15)).toMatchObject({ outcome: 'captured', captured: 15, returned: 5 });
    // The five that came back belonged to an allowance that is over.
    expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
    expect((await seen(organization)).balance).toBe(50);
  });

  it('that lapse after it give plan tokens to nobody, and paid ones back for seven days', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await addGrant(database.superuser, organizationId, {
      source: 'purchase',
      isPaid: true,
      amount: 10,
      priority: 1,
      expiresIn: '1 day',
    });
    await holder.hold('both', 30, { lifetimeMs: 35 * 86_400_000 });
    await elapse(database.superuser, organizationId, '34 days');
    expect((await seen(organization)).balance).toBe(50);
    await elapse(database.superuser, organizationId, '1 day');
    expect((await seen(organization)).balance).toBe(60);
    expect(await look(holder)).toMatchObject({ available: 60 });
    await elapse(database.superuser, organizationId, '7 days');
    expect((await seen(organization)).balance).toBe(50);
    expect(await look(holder)).toMatchObject({ available: 50 });
  });

  it('give back nothing of an upgrade, whose tokens end with the period too', async () => {
    const { organization, holder } = await newHolder();
    await setPlan(organization, 'enterprise');
    await holder.hold('over', 100, { lifetimeMs: 40 * 86_400_000 });
    await elapse(database.superuser, organization.organizationId, '31 days');
    await holder.release('over');
    expect(await leads(organization)).toEqual({ available: 500, held: 0, owed: 0 });
    expect((await seen(organization)).balance).toBe(500);
  });

  it('and a downgrade: nothing is taken back, no balance is negative, the gate and the next period follow the new plan', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('before', 20);
    await setPlan(organization, 'starter');
    expect(await seen(organization)).toMatchObject({ balance: 30, total_allocated: 0 });
    expect(await holder.capture('before')).toMatchObject({ outcome: 'captured', captured: 20 });
    expect(await holder.hold('after', 1)).toMatchObject({ outcome: 'feature_not_available' });
    await elapse(database.superuser, organization.organizationId, '31 days');
    expect(await seen(organization)).toMatchObject({ balance: 0, total_allocated: 0 });
  });
});

describe('T6: plans within a period', () => {
  it('an upgrade brings the difference, in the statement that makes it', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    await holder.capture('h');
    await setPlan(organization, 'enterprise');
    expect(await seen(organization)).toMatchObject({ balance: 480, total_allocated: 500 });
    const { refresh_date } = await seen(organization);
    expect(
      (await grantsOf(database.superuser, organization.organizationId)).map(({ source, amount, expiresAt }) => ({
        source,
        amount,
        expiresAt,
      })),
    ).toEqual([
      { source: 'allowance', amount: 50, expiresAt: refresh_date },
      { source: 'upgrade', amount: 450, expiresAt: refresh_date },
    ]);
  });

  it('switched to and fro they mint nothing: never more than the largest allowance held', async () => {
    const { organization } = await newHolder('starter');
    for (const plan of ['pro', 'starter', 'pro', 'enterprise', 'pro', 'enterprise', 'starter', 'enterprise']) {
      await setPlan(organization, plan);
    }
    expect(await seen(organization)).toMatchObject({ balance: 500, total_allocated: 500 });
    await elapse(database.superuser, organization.organizationId, '31 days');
    for (const plan of ['pro', 'enterprise']) await setPlan(organization, plan);
    expect(await seen(organization)).toMatchObject({ balance: 500, total_allocated: 500 });
  });

  it('time up to the change counts under the old plan', async () => {
    const { organization } = await newHolder('starter');
    await elapse(database.superuser, organization.organizationId, '31 days');
    await setPlan(organization, 'pro');
    expect(
      (await grantsOf(database.superuser, organization.organizationId)).map(({ source, amount }) => [source, amount]),
    ).toEqual([['upgrade', 50]]);
  });

  it('an unknown plan is refused with the plans that there are', async () => {
    const { organization } = await newHolder();
    await expect(setPlan(organization, 'gold')).rejects.toThrow(/unknown plan "gold"; the catalogue has: .*enterprise/);
  });
});
