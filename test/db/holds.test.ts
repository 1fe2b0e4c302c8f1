import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { captureHolds, type HoldRequest, holdTokens, releaseHolds } from '../../db/holds.ts';
import { admitJob } from '../../db/jobs.ts';
import { HOLD_END_REFUSALS, HOLD_REFUSALS } from '../../domain/refusals.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

/** An organization on plan pro: 50 tokens of lead_generation, 20 of goal_generation. */
async function newHolder(): Promise<{ organization: TestOrganization; holder: Holder }> {
  const organization = await createOrganization(database.superuser, 'pro');
  return { organization, holder: holderOf(database.api, organization) };
}
const leads = ({ organizationId }: TestOrganization) =>
  balanceOf(database.superuser, organizationId, 'lead_generation');

describe('a hold', () => {
  it('sets tokens aside, and answers what is left and when it lapses', async () => {
    const { organization, holder } = await newHolder();
    const before = Date.now();
    const placement = await holder.hold('h', 20);
    expect(placement).toMatchObject({ outcome: 'held', isRepeat: false, tokenType: 'lead_generation', available: 30 });
    expect(placement.expiresAt!.getTime() - before).toBeGreaterThan(59_000);
    expect(placement.expiresAt!.getTime() - before).toBeLessThan(70_000);
    expect(await leads(organization)).toEqual({ available: 30, held: 20, owed: 0 });
  });

  it('fits to the last token, and not one further', async () => {
    const { organization, holder } = await newHolder();
    expect(await holder.hold('all', 50)).toMatchObject({ outcome: 'held', available: 0 });
    expect(await holder.hold('more', 1)).toMatchObject({ outcome: 'tokens_insufficient', available: 0 });
    expect(await leads(organization)).toEqual({ available: 0, held: 50, owed: 0 });
  });

  it('is charged whole: nothing comes back', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    expect(await holder.capture('h')).toEqual({
      outcome: 'captured',
      isRepeat: false,
      chargeId: 'h.1',
      captured: 20,
      returned: 0,
      capturedInAll: 20,
    });
    expect(await leads(organization)).toEqual({ available: 30, held: 0, owed: 0 });
  });

  it('is charged in part: the rest comes back at once', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    expect(await holder.capture('h', 7)).toEqual({
      outcome: 'captured',
      isRepeat: false,
      chargeId: 'h.1',
      captured: 7,
      returned: 13,
      capturedInAll: 7,
    });
    expect(await leads(organization)).toEqual({ available: 43, held: 0, owed: 0 });
  });

  it('is released: everything comes back', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    expect(await holder.release('h')).toEqual({
      outcome: 'released',
      isRepeat: false,
      chargeId: null,
      captured: 0,
      returned: 20,
      capturedInAll: 0,
    });
    expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
  });

  it('lapses: the tokens are back in the call that looks', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 50);
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    expect(await holder.hold('next', 50)).toMatchObject({ outcome: 'held', available: 0 });
    expect(await holder.capture('h')).toMatchObject({ outcome: 'hold_lapsed', captured: 0, returned: 50 });
  });

  it('leaves a usage line with the feature, the tokens and who used them', async () => {
    const { organization, holder } = await newHolder();
    await database.superuser.query('insert into user_profiles (id, organization_id) values ($1, $2)', [
      `${organization.organizationId}-ann`,
      organization.organizationId,
    ]);
    const ann = holderOf(database.api, { ...organization, principal: `user:${organization.organizationId}-ann` });
    await ann.hold('by-ann', 5);
    await ann.capture('by-ann', 4);
    await holder.hold('by-key', 5);
    await holder.capture('by-key');
    // Whoever ends it: it was she who held.
    await ann.hold('handed-over', 3);
    await holder.capture('handed-over');
    const { rows } = await database.superuser.query(
      `select user_id, feature_used, tokens_deducted, charge_id as hold
         from ai_token_usage_log where organization_id = $1 order by id`,
      [organization.organizationId],
    );
    expect(rows).toEqual([
      {
        user_id: `${organization.organizationId}-ann`,
        feature_used: 'generate_leads',
        tokens_deducted: 4,
        hold: 'by-ann.1',
      },
      { user_id: null, feature_used: 'generate_leads', tokens_deducted: 5, hold: 'by-key.1' },
      {
        user_id: `${organization.organizationId}-ann`,
        feature_used: 'generate_leads',
        tokens_deducted: 3,
        hold: 'handed-over.1',
      },
    ]);
  });
});

describe('a repeat answers what was recorded and moves nothing', () => {
  const ends: {
    name: string;
    end: (holder: Holder, organization: TestOrganization) => Promise<unknown>;
    hold: string;
  }[] = [
    { name: 'open', end: async () => {}, hold: 'held' },
    { name: 'captured', end: (holder) => holder.capture('h', 3), hold: 'captured' },
    { name: 'released', end: (holder) => holder.release('h'), hold: 'released' },
    {
      name: 'lapsed',
      end: (_, { organizationId }) => elapse(database.superuser, organizationId, '61 seconds'),
      hold: 'lapsed',
    },
  ];
  it.each(ends)('the hold of a hold that is $name', async ({ end, hold }) => {
    const { organization, holder } = await newHolder();
    const first = await holder.hold('h', 5);
    await end(holder, organization);
    // The call that looks settles time; from then on nothing may move.
    const repeat = await holder.hold('h', 5);
    const settled = await leads(organization);
    expect(repeat).toMatchObject({ outcome: hold, isRepeat: true, available: settled.available });
    if (hold !== 'lapsed') expect(repeat.expiresAt).toEqual(first.expiresAt);
    expect(await holder.hold('h', 5)).toEqual(repeat);
    expect(await leads(organization)).toEqual(settled);
  });

  it('the capture of the same amount, the release, and the release of what lapsed', async () => {
    const { organization, holder } = await newHolder();
    for (const id of ['captured', 'released', 'lapsed']) await holder.hold(id, 5);
    await holder.capture('captured', 3);
    await holder.release('released');
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    const before = await database.superuser.query('select count(*) from tollgate.ledger_entries where kind <> $1', [
      'lapse',
    ]);
    expect(await holder.capture('captured', 3)).toEqual({
      outcome: 'captured',
      isRepeat: true,
      chargeId: 'captured.1',
      captured: 3,
      returned: 2,
      capturedInAll: 3,
    });
    expect(await holder.release('released')).toMatchObject({
      outcome: 'released',
      isRepeat: true,
      captured: 0,
      returned: 5,
    });
    expect(await holder.release('lapsed')).toMatchObject({
      outcome: 'lapsed',
      isRepeat: true,
      captured: 0,
      returned: 5,
    });
    const after = await database.superuser.query('select count(*) from tollgate.ledger_entries where kind <> $1', [
      'lapse',
    ]);
    expect(after.rows).toEqual(before.rows);
    expect(await leads(organization)).toEqual({ available: 47, held: 0, owed: 0 });
  });
});

describe('refusals of a hold', () => {
  /** Faults in the order in which they are decided; each makes a sound request into one that is refused for it. */
  const faults: { refusal: (typeof HOLD_REFUSALS)[number]; change: Partial<HoldRequest> }[] = [
    { refusal: 'not_a_member', change: { principal: 'user:nobody' } },
    { refusal: 'feature_unknown', change: { feature: 'paint_a_picture' as never } },
    { refusal: 'id_invalid', change: { holdId: 'no spaces' } },
    { refusal: 'amount_invalid', change: { amount: 0 } },
    { refusal: 'lifetime_invalid', change: { lifetimeMs: 0 } },
    { refusal: 'id_reused', change: { holdId: 'taken' } },
    { refusal: 'tokens_insufficient', change: { amount: 51 } },
  ];

  it.each(faults)('$refusal, and nothing moves', async ({ refusal, change }) => {
    const { organization, holder } = await newHolder();
    await holder.hold('taken', 1);
    expect(await holder.hold('fresh', 5, change)).toMatchObject({ outcome: refusal, isRepeat: false, expiresAt: null });
    expect(await leads(organization)).toEqual({ available: 49, held: 1, owed: 0 });
  });

  it('lifetime_invalid beyond 366 days, alone and in a batch', async () => {
    const { organization, holder } = await newHolder();
    const change = { lifetimeMs: 367 * 86_400_000 };
    expect(await holder.hold('alone', 5, change)).toMatchObject({ outcome: 'lifetime_invalid' });
    const placements = await holdTokens(database.api, [
      holder.request('long', 5, change),
      holder.request('year', 5, { lifetimeMs: 365 * 86_400_000 }),
    ]);
    expect(placements.map(({ outcome }) => outcome)).toEqual(['lifetime_invalid', 'held']);
    expect(await leads(organization)).toEqual({ available: 45, held: 5, owed: 0 });
  });

  it('feature_not_available on a plan without it, whatever the balance', async () => {
    const organization = await createOrganization(database.superuser, 'starter');
    await database.superuser.query(
      `update ai_tokens set balance = 100 where organization_id = $1 and token_type = 'lead_generation'`,
      [organization.organizationId],
    );
    const holder = holderOf(database.api, organization);
    expect(await holder.hold('h', 5)).toMatchObject({ outcome: 'feature_not_available', available: 100 });
  });

  it('organization_unknown, for callers that name no principal', async () => {
    const { rows } = await database.superuser.query(
      `select outcome from tollgate.place_holds(array['nowhere'], array['h'], array['generate_leads'], array[null], array[1::bigint],
         array[interval '1 minute'], array['key:x'], array[null], array[null], 'hold')`,
    );
    expect(rows).toEqual([{ outcome: 'organization_unknown' }]);
  });

  it('the first fault in the order of HOLD_REFUSALS is the one that is answered', async () => {
    const { holder } = await newHolder();
    await holder.hold('taken', 1);
    // Starts with every fault at once and cures them one by one. A bad id cannot also be a taken one, nor 0 be too much.
    const everything = Object.assign({}, ...faults.toReversed().map(({ change }) => change)) as Partial<HoldRequest>;
    const cures: Partial<HoldRequest>[] = [
      {},
      { principal: holder.request('', 1).principal },
      { feature: 'generate_leads' },
      { holdId: 'taken' },
      { amount: 51 },
      { lifetimeMs: 60_000 },
      { holdId: 'fresh' },
      { amount: 5 },
    ];
    const answered: string[] = [];
    let request = holder.request('h', 1, everything);
    for (const cure of cures) {
      request = { ...request, ...cure };
      answered.push((await holdTokens(database.api, [request]))[0]!.outcome);
    }
    expect(answered).toEqual([...faults.map(({ refusal }) => refusal), 'held']);
  });

  it('every refusal of the closed list is tested here', () => {
    // limit_reached: planRules.test.ts; organization_suspended: suspension.test.ts; too_many_holds: caps.test.ts.
    const tested = [
      ...faults.map(({ refusal }) => refusal),
      'organization_unknown',
      'organization_suspended',
      'feature_not_available',
      'too_many_holds',
      'limit_reached',
    ];
    expect(tested.toSorted()).toEqual([...HOLD_REFUSALS].toSorted());
  });

  it("a job's hold is the job's: its id is taken, and the lane of holds cannot end it", async () => {
    const { organization, holder } = await newHolder();
    await admit(organization, 'job-1');
    expect(await holder.hold('job-1', 5)).toMatchObject({ outcome: 'id_reused', isRepeat: false });
    expect(await holder.capture('job-1')).toMatchObject({ outcome: 'hold_of_a_job' });
    expect(await holder.release('job-1')).toMatchObject({ outcome: 'hold_of_a_job' });
  });
});

describe('refusals of a capture or release', () => {
  const cases: {
    refusal: (typeof HOLD_END_REFUSALS)[number];
    arrange?: (holder: Holder, organization: TestOrganization) => Promise<unknown>;
    end: (holder: Holder, organization: TestOrganization) => Promise<{ outcome: string }>;
  }[] = [
    {
      refusal: 'not_a_member',
      end: (_, organization) => holderOf(database.api, { ...organization, principal: 'user:nobody' }).capture('h'),
    },
    { refusal: 'hold_unknown', end: (holder) => holder.capture('other') },
    { refusal: 'hold_unknown', end: (holder) => holder.release('other') },
    {
      refusal: 'hold_of_a_job',
      arrange: (_, organization) => admit(organization, 'job-1'),
      end: (holder) => holder.release('job-1'),
    },
    { refusal: 'hold_captured', arrange: (holder) => holder.capture('h', 4), end: (holder) => holder.release('h') },
    { refusal: 'hold_captured', arrange: (holder) => holder.capture('h', 4), end: (holder) => holder.capture('h', 5) },
    { refusal: 'hold_released', arrange: (holder) => holder.release('h'), end: (holder) => holder.capture('h') },
    {
      refusal: 'hold_lapsed',
      arrange: (_, { organizationId }) => elapse(database.superuser, organizationId, '61 seconds'),
      end: (holder) => holder.capture('h'),
    },
    { refusal: 'amount_invalid', end: (holder) => holder.capture('h', 0) },
    { refusal: 'amount_invalid', end: (holder) => holder.capture('h', -1) },
    { refusal: 'amount_above_hold', end: (holder) => holder.capture('h', 6) },
  ];

  it.each(cases)('R7, R10: $refusal', async ({ refusal, arrange, end }) => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 5);
    await arrange?.(holder, organization);
    const { outcome } = await end(holder, organization);
    expect(outcome).toBe(refusal);
  });

  it('every refusal of the closed list is tested here', () => {
    // Those of keys and of captures above the hold: holdSteps.test.ts.
    const elsewhere = ['key_invalid', 'key_reused', 'limit_reached', 'tokens_insufficient'];
    expect([...new Set([...cases.map(({ refusal }) => refusal), ...elsewhere])].toSorted()).toEqual(
      [...HOLD_END_REFUSALS].toSorted(),
    );
  });

  it("the first fault in the order of HOLD_END_REFUSALS is the one that is answered: who, then what, then the hold's end, then the amount", async () => {
    const { organization, holder } = await newHolder();
    const stranger = holderOf(database.api, { ...organization, principal: 'user:nobody' });
    await admit(organization, 'job-1');
    await holder.hold('released', 5);
    await holder.release('released');
    await holder.hold('open', 5);
    expect((await stranger.capture('unknown', -1)).outcome).toBe('not_a_member');
    expect((await holder.capture('unknown', -1)).outcome).toBe('hold_unknown');
    expect((await holder.capture('job-1', -1)).outcome).toBe('hold_of_a_job');
    expect((await holder.capture('released', -1)).outcome).toBe('hold_released');
    expect((await holder.capture('open', -1)).outcome).toBe('amount_invalid');
    expect((await holder.capture('open', 2 ** 53)).outcome).toBe('amount_invalid');
    expect((await holder.capture('open', 6)).outcome).toBe('amount_above_hold');
  });
});

describe('a batch is answered row by row', () => {
  it('a small hold still fits after a large one was refused', async () => {
    const { organization, holder } = await newHolder();
    const placements = await holdTokens(database.api, [
      holder.request('a', 30),
      holder.request('b', 30),
      holder.request('c', 15),
      holder.request('d', 6),
      holder.request('e', 5),
    ]);
    expect(placements.map(({ outcome, available }) => [outcome, available])).toEqual([
      ['held', 20],
      ['tokens_insufficient', 20],
      ['held', 5],
      ['tokens_insufficient', 5],
      ['held', 0],
    ]);
    expect(await leads(organization)).toEqual({ available: 0, held: 50, owed: 0 });
  });

  it('C12: of 64 rows each bad one is refused by itself, and every sound one succeeds', async () => {
    const { organization, holder } = await newHolder();
    const foreign = await createOrganization(database.superuser, 'pro');
    const bad: [HoldRequest, string][] = [
      [holder.request('bad-member', 1, { principal: foreign.principal }), 'not_a_member'],
      [holder.request('bad-organization', 1, { organizationId: foreign.organizationId }), 'not_a_member'],
      [holder.request('bad-nowhere', 1, { organizationId: 'nowhere' }), 'not_a_member'],
      [holder.request('bad-feature', 1, { feature: 'x' as never }), 'feature_unknown'],
      [holder.request('', 1), 'id_invalid'],
      [holder.request(null as never, 1), 'id_invalid'],
      [holder.request('x'.repeat(65), 1), 'id_invalid'],
      [holder.request('bad-amount', -1), 'amount_invalid'],
      [holder.request('bad-null', null as never), 'amount_invalid'],
      [holder.request('bad-lifetime', 1, { lifetimeMs: -1 }), 'lifetime_invalid'],
      [holder.request('bad-eternity', 1, { lifetimeMs: Number.MAX_SAFE_INTEGER }), 'lifetime_invalid'],
      [holder.request('bad-much', 1_000), 'tokens_insufficient'],
    ];
    const sound = Array.from({ length: 64 - bad.length }, (_, n) => holder.request(`good-${n}`, 1));
    // The last two do not fit: the allowance is 50. Every fifth row is a bad one.
    const rows: [HoldRequest, string][] = sound.map((request, n) => [request, n < 50 ? 'held' : 'tokens_insufficient']);
    bad.forEach((row, n) => {
      rows.splice(n * 5, 0, row);
    });
    const placements = await holdTokens(
      database.api,
      rows.map(([request]) => request),
    );
    expect(placements.map(({ outcome }, n) => [rows[n]![0].holdId, outcome])).toEqual(
      rows.map(([request, outcome]) => [request.holdId, outcome]),
    );
    expect(await leads(organization)).toEqual({ available: 0, held: 50, owed: 0 });
  });

  it('one id twice in a batch is one hold; with another amount or feature the second is refused', async () => {
    const { organization, holder } = await newHolder();
    const placements = await holdTokens(database.api, [
      holder.request('twice', 5),
      holder.request('twice', 5),
      holder.request('twice', 6),
      holder.request('twice', 5, { feature: 'generate_goal' }),
    ]);
    expect(placements.map(({ outcome, isRepeat }) => [outcome, isRepeat])).toEqual([
      ['held', false],
      ['held', true],
      ['id_reused', false],
      ['id_reused', false],
    ]);
    const { rows } = await database.superuser.query(
      'select sum(held) as held from tollgate.balances where organization_id = $1',
      [organization.organizationId],
    );
    expect(Number(rows[0].held)).toBe(5);
  });

  it('one hold captured twice and released in one batch ends once', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 5);
    await holder.hold('g', 5);
    const { organizationId, principal } = organization;
    const capture = (holdId: string, amount: number | null) => ({ organizationId, principal, holdId, amount });
    const endings = await captureHolds(database.api, [
      capture('h', 2),
      capture('h', 2),
      capture('h', 3),
      capture('g', null),
    ]);
    expect(endings.map(({ outcome, isRepeat }) => [outcome, isRepeat])).toEqual([
      ['captured', false],
      ['captured', true],
      ['hold_captured', false],
      ['captured', false],
    ]);
    const releases = await releaseHolds(
      database.api,
      ['h', 'g', 'unknown'].map((holdId) => ({ organizationId, principal, holdId })),
    );
    expect(releases.map(({ outcome }) => outcome)).toEqual(['hold_captured', 'hold_captured', 'hold_unknown']);
    expect(await leads(organization)).toEqual({ available: 43, held: 0, owed: 0 });
  });

  it('is answered in the order asked, also over several organizations and token types', async () => {
    const holders = await Promise.all([newHolder(), newHolder(), newHolder()]);
    const requests = Array.from({ length: 12 }, (_, n) =>
      holders[n % 3]!.holder.request(`h-${n}`, n + 1, { feature: n % 2 ? 'generate_goal' : 'generate_leads' }),
    );
    const placements = await holdTokens(database.api, requests);
    expect(placements.map(({ outcome, tokenType }) => [outcome, tokenType])).toEqual(
      requests.map(({ feature }) => ['held', feature === 'generate_goal' ? 'goal_generation' : 'lead_generation']),
    );
    const endings = await captureHolds(
      database.api,
      requests.toReversed().map((request) => ({ ...request, amount: null })),
    );
    expect(endings.map(({ captured }) => captured)).toEqual(requests.map(({ amount }) => amount).toReversed());
  });

  it('of 300 holds of one balance: each entry follows from the one before it', async () => {
    const organization = await createOrganization(database.superuser, 'enterprise');
    const holder = holderOf(database.api, organization);
    const amounts = Array.from({ length: 300 }, (_, n) => 1 + (n % 2));
    await holdTokens(
      database.api,
      amounts.map((amount, n) => holder.request(`h-${n}`, amount)),
    );
    const { rows } = await database.superuser.query(
      `select e.entry_number, e.amount, e.available_after, e.held_after from tollgate.ledger_entries e
        where e.organization_id = $1 and e.token_type = 'lead_generation' and e.kind = 'hold' order by e.entry_number`,
      [organization.organizationId],
    );
    let held = 0;
    expect(rows).toEqual(
      amounts.map((amount, n) => {
        held += amount;
        return { entry_number: n + 2, amount, available_after: 500 - held, held_after: held };
      }),
    );
  });

  it('of nothing is answered with nothing', async () => {
    expect(await holdTokens(database.api, [])).toEqual([]);
    expect(await captureHolds(database.api, [])).toEqual([]);
    expect(await releaseHolds(database.api, [])).toEqual([]);
  });
});

describe('S4: amounts', () => {
  const { MAX_SAFE_INTEGER } = Number;
  it.each([
    [0, 'amount_invalid'],
    [-1, 'amount_invalid'],
    [2 ** 53, 'amount_invalid'],
    [null, 'amount_invalid'],
    [MAX_SAFE_INTEGER, 'tokens_insufficient'],
  ])('%s is refused as a value, and its neighbour is not', async (amount, outcome) => {
    const { organization, holder } = await newHolder();
    const placements = await holdTokens(database.api, [
      holder.request('bad', amount as number),
      holder.request('good', 1),
    ]);
    expect(placements.map((placement) => placement.outcome)).toEqual([outcome, 'held']);
    expect(await leads(organization)).toEqual({ available: 49, held: 1, owed: 0 });
  });

  it.each([1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 63, '1e400', true, {}, 'x'])(
    '%s never reaches a balance: it is no bigint',
    async (amount) => {
      const { organization, holder } = await newHolder();
      await expect(holder.hold('bad', amount as number)).rejects.toThrow();
      expect(await leads(organization)).toEqual({ available: 50, held: 0, owed: 0 });
    },
  );
});

async function admit({ organizationId, principal }: TestOrganization, jobId: string) {
  return admitJob(database.api, {
    organizationId,
    principal,
    jobId,
    feature: 'generate_leads',
    input: {},
    idempotencyKey: `key-${jobId}`,
    requestHash: Buffer.alloc(32),
    holdLifetimeMs: 60_000,
    timeBudgetMs: 75_000,
  });
}
