import fc from 'fast-check';
import type { PoolClient } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

/** Mostly round numbers, so that lapses, expiries and looks fall on one instant, or within the days of grace (168 hours). */
const hours = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(1, 2, 5, 20, 100, 168) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 1_000 }) },
);
const which = fc.nat(5);

/**
 * What a schedule is made of. Weighted towards what is rare and hard: grants that end while holds on them are open, around
 * the days of grace; balances that are nearly empty when a late job is charged.
 */
const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('wait' as const),
      hours,
      splits: fc.array(fc.integer({ min: 1, max: 999 }), { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 7,
    arbitrary: fc.record({
      kind: fc.constant('hold' as const),
      amount: fc.integer({ min: 1, max: 12 }),
      hours,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('grant' as const),
      source: fc.constantFrom('purchase', 'promotion', 'reward'),
      amount: fc.integer({ min: 1, max: 15 }),
      priority: fc.constantFrom(50, 50, 100, 150),
      hours: fc.option(hours, { freq: 8 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('release' as const), which }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('capture' as const), which, amount: fc.integer({ min: 1, max: 12 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('plan' as const),
      plan: fc.constantFrom('starter', 'pro', 'pro', 'enterprise'),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('job' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('commit' as const), which }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('adjust' as const), balance: fc.nat(6) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('refresh' as const), hours: fc.integer({ min: -50, max: 800 }) }),
  },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Schedules that chance finds too seldom. */
const RARE: [Step[]][] = [
  // Two holds come back to one dead grant: the grace of the first is the grace of both.
  [
    [
      { kind: 'grant', source: 'purchase', amount: 2, priority: 50, hours: 5 },
      { kind: 'hold', amount: 1, hours: 20 },
      { kind: 'hold', amount: 1, hours: 100 },
      { kind: 'wait', hours: 200, splits: [500] },
    ],
  ],
  // Everything at one instant: tokens come back first, then their grant expires, then somebody looks.
  [
    [
      { kind: 'grant', source: 'reward', amount: 3, priority: 50, hours: 20 },
      { kind: 'hold', amount: 2, hours: 20 },
      { kind: 'wait', hours: 20, splits: [] },
    ],
  ],
  // More is owed than one allowance pays.
  [
    [
      { kind: 'adjust', balance: 5 },
      { kind: 'job' },
      { kind: 'wait', hours: 100, splits: [] },
      { kind: 'adjust', balance: 2 },
      { kind: 'commit', which: 0 },
      { kind: 'plan', plan: 'starter' },
      { kind: 'wait', hours: 1_000, splits: [] },
      { kind: 'plan', plan: 'pro' },
    ],
  ],
  // A grant was empty when the balance last looked ahead, and got its tokens back before its end.
  [
    [
      { kind: 'grant', source: 'promotion', amount: 1, priority: 50, hours: 100 },
      { kind: 'hold', amount: 1, hours: 1_000 },
      { kind: 'wait', hours: 5, splits: [] },
      { kind: 'release', which: 0 },
      { kind: 'wait', hours: 168, splits: [] },
    ],
  ],
];

/**
 * Time is a parameter of `settle_time`, and what it has settled is the ledger's now: so a schedule plays in the future of
 * one database without waiting. Before every step of time, what the view computes is held against what settling does,
 * and settling at once against settling in pieces.
 */
it('T5, I8: the view ai_tokens equals what settling then gives, at once or in pieces, over random schedules', async () => {
  const client = await database.superuser.connect();
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 20, size: 'max' }), async (steps) => {
        const organization = await createOrganization(database.superuser, 'pro');
        const schedule = new Schedule(client, organization);
        // From here on the ledger's now is what was settled last, not the clock: instants can coincide.
        await schedule.play({ kind: 'wait', hours: 1, splits: [] });
        for (const next of steps) await schedule.play(next);
        // Whatever is still open ends by time, and is compared once more.
        await schedule.play({ kind: 'wait', hours: 3_000, splits: [500] });
      }),
      { numRuns: 80, examples: RARE },
    );
  } finally {
    client.release();
  }
  await expectInvariants(database.superuser);
}, 60_000);

class Schedule {
  private readonly client: PoolClient;
  private readonly organization: TestOrganization;
  private holds = 0;
  private jobs = 0;

  constructor(client: PoolClient, organization: TestOrganization) {
    this.client = client;
    this.organization = organization;
  }

  async play(step: Step): Promise<void> {
    const { organizationId, principal } = this.organization;
    switch (step.kind) {
      case 'wait':
        return this.wait(step.hours, step.splits);
      case 'hold':
        await this.call(
          'select * from tollgate.hold_tokens(array[$1], array[$2], array[$3], array[$4], array[$5::bigint], array[$6::interval])',
          [principal, organizationId, `h-${this.holds++}`, 'generate_leads', step.amount, `${step.hours} hours`],
        );
        return;
      case 'grant':
        await this.call(
          `select tollgate.add_grant($1, 'lead_generation', $2, $3, $4, $2 = 'purchase', null, b.settled_through + $5::interval, 'test', b.settled_through)
             from tollgate.balances b where b.organization_id = $1 and b.token_type = 'lead_generation'`,
          [organizationId, step.source, step.amount, step.priority, step.hours && `${step.hours} hours`],
        );
        return;
      case 'release':
        await this.call('select * from tollgate.release_holds(array[$1], array[$2], array[$3])', [
          principal,
          organizationId,
          `h-${step.which % Math.max(1, this.holds)}`,
        ]);
        return;
      case 'capture':
        await this.call(
          'select * from tollgate.capture_holds(array[$1], array[$2], array[$3], array[$4::bigint], null, null)',
          [principal, organizationId, `h-${step.which % Math.max(1, this.holds)}`, step.amount],
        );
        return;
      case 'plan':
        await this.call('update organizations set plan = $2 where id = $1', [organizationId, step.plan]);
        return;
      case 'job': {
        const job = `j-${this.jobs++}`;
        const { rows } = await this.call(
          `select outcome from tollgate.admit_job($1, $2, $3, 'generate_leads', '{}', $3, '\\x00', '1 minute', '1 hour')`,
          [organizationId, principal, job],
        );
        if (rows[0].outcome !== 'admitted') return;
        await this.call('select * from tollgate.begin_job($1, $2)', [organizationId, job]);
        await this.call(`select * from tollgate.store_result($1, $2, '{}', '{}')`, [organizationId, job]);
        return;
      }
      case 'commit':
        await this.call('select * from tollgate.commit_job($1, $2)', [
          organizationId,
          `j-${step.which % Math.max(1, this.jobs)}`,
        ]);
        return;
      case 'adjust':
        await this.call(
          `insert into ai_tokens (organization_id, token_type, balance) values ($1, 'lead_generation', $2)`,
          [organizationId, step.balance],
        );
        return;
      case 'refresh':
        await this.call(
          `update ai_tokens v set refresh_date = greatest(b.settled_through + $2::interval, b.period_start + interval '1 minute')
             from tollgate.balances b
            where v.organization_id = $1 and v.token_type = 'lead_generation'
              and b.organization_id = $1 and b.token_type = 'lead_generation'`,
          [organizationId, `${step.hours} hours`],
        );
    }
  }

  private async wait(hours: number, splits: readonly number[]): Promise<void> {
    const { client } = this;
    const { rows } = await client.query(
      `select (b.settled_through + $2::interval)::text as until from tollgate.balances b
        where b.organization_id = $1 and b.token_type = 'lead_generation'`,
      [this.organization.organizationId, `${hours} hours`],
    );
    const until = rows[0].until as string;
    await client.query('begin');
    await client.query("select set_config('tollgate.organizations', $1, true)", [this.organization.organizationId]);
    const foreseen = await this.foreseen(until);
    const [asOf, justBefore] = [await this.asOf(until), await this.asOf(until, '1 microsecond')];
    await client.query('savepoint before');
    await this.settle(until, 1_000, hours);
    const atOnce = await this.state();
    await client.query('rollback to savepoint before');
    for (const permille of splits.toSorted((a, b) => a - b)) await this.settle(until, permille, hours);
    await this.settle(until, 1_000, hours);
    const inPieces = await this.state();
    const justBeforeBooked = await this.asOf(until, '1 microsecond');
    await client.query('commit');

    const { view, balance } = atOnce;
    expect(asOf).toEqual({ available: view.available, held: balance.held, owed: balance.owed });
    expect(justBeforeBooked).toEqual(justBefore);
    expect(foreseen).toEqual(atOnce.view);
    expect(inPieces).toEqual(atOnce);
  }

  private async settle(until: string, permille: number, hours: number): Promise<void> {
    await this.client.query(
      `select tollgate.settle_time($1, 'lead_generation', $2::timestamptz - (1000 - $3::integer) * $4::interval / 1000)`,
      [this.organization.organizationId, until, permille, `${hours} hours`],
    );
  }

  /** The view's own rule, at another instant: before next_change_at the row is exact as it stands. */
  private async foreseen(until: string) {
    const { rows } = await this.client.query(
      `select case when b.next_change_at <= $2 then f.available else b.available end as available,
              case when b.next_change_at <= $2 then f.held else b.held end as held,
              case when b.next_change_at <= $2 then f.used_in_period else b.used_in_period end as used_in_period,
              case when b.next_change_at <= $2 then f.allocated else b.allocated end as allocated,
              case when b.next_change_at <= $2 then f.refresh_date else b.refresh_date end::text as refresh_date
         from tollgate.balances b, tollgate.balance_at(b, $2) f
        where b.organization_id = $1 and b.token_type = 'lead_generation'`,
      [this.organization.organizationId, until],
    );
    return rows[0];
  }

  /** The ledger's word on an instant, whether or not what fell due until then is booked. */
  private async asOf(until: string, before = '0') {
    const { rows } = await this.client.query(
      `select s.available, s.held, s.owed from tollgate.balance_as_of($1, 'lead_generation', $2::timestamptz - $3::interval) s`,
      [this.organization.organizationId, until, before],
    );
    return rows[0];
  }

  /** Everything about the balance that must not depend on how often somebody looked. */
  private async state() {
    const { organizationId } = this.organization;
    const view = await this.client.query(
      `select b.available, b.held, b.used_in_period, b.allocated, b.refresh_date::text from tollgate.balances b
        where b.organization_id = $1 and b.token_type = 'lead_generation'`,
      [organizationId],
    );
    const balance = await this.client.query(
      `select b.held, b.owed, b.used_in_period, b.granted_in_period, b.last_entry, b.period_start::text, b.settled_through::text, b.next_change_at::text
         from tollgate.balances b where b.organization_id = $1 and b.token_type = 'lead_generation'`,
      [organizationId],
    );
    // Ids come from one sequence that no rollback turns back: grants are told apart by their order.
    const grants = await this.client.query(
      `select g.source, g.amount, g.remaining, g.expired, g.expires_at::text from tollgate.grants g
        where g.organization_id = $1 and g.token_type = 'lead_generation' order by g.id`,
      [organizationId],
    );
    const entries = await this.client.query(
      `select e.entry_number, e.kind, e.amount, e.hold_id, e.effective_at::text from tollgate.ledger_entries e
        where e.organization_id = $1 and e.token_type = 'lead_generation' order by e.entry_number`,
      [organizationId],
    );
    return { view: view.rows[0], balance: balance.rows[0], grants: grants.rows, entries: entries.rows };
  }

  private async call(text: string, values: unknown[]) {
    return this.client.query(text, values);
  }
}
