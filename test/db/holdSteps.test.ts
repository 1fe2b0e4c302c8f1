import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { captureHolds, growHolds } from '../../db/holds.ts';
import { admitJob } from '../../db/jobs.ts';
import { EXTENSION_REFUSALS, GROWTH_REFUSALS, REFUND_REFUSALS } from '../../domain/refusals.ts';
import { admissionOf } from '../support/admission.ts';
import { asOwner } from '../support/asOwner.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant, grantsOf } from '../support/grant.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { newOperator } from '../support/operator.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

/** Somebody of a pro organization: 50 lead tokens. */
async function newHolder(): Promise<{ organization: TestOrganization; holder: Holder }> {
  const organization = await createOrganization(database.superuser, 'pro');
  return { organization, holder: holderOf(database.api, organization) };
}

async function leads({ organizationId }: TestOrganization) {
  const { rows } = await database.superuser.query(
    `select available, held from tollgate.balances where organization_id = $1 and token_type = 'lead_generation'`,
    [organizationId],
  );
  return rows[0];
}

const captureRule = ({ organizationId }: TestOrganization, rule: string) =>
  asOwner(database, 'select tollgate.set_capture_rule($1, $2)', [organizationId, rule]);

describe('a hold that is extended', () => {
  it('outlives its first end, and a shorter lifetime takes nothing from it', async () => {
    const { organization, holder } = await newHolder();
    const placed = await holder.hold('h', 5);
    const extended = await holder.extend('h', 3_600_000);
    expect(extended.outcome).toBe('extended');
    expect(extended.expiresAt!.getTime()).toBeGreaterThan(placed.expiresAt!.getTime() + 3_000_000);
    expect(await holder.extend('h', 1_000)).toEqual(extended);
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    expect(await holder.capture('h')).toMatchObject({ outcome: 'captured' });
  });

  it('lapses at its new end', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 5);
    await holder.extend('h', 120_000);
    await elapse(database.superuser, organization.organizationId, '121 seconds');
    expect(await holder.extend('h', 120_000)).toMatchObject({ outcome: 'hold_lapsed' });
    expect(await leads(organization)).toEqual({ available: 50, held: 0 });
  });
});

describe('a hold that grows', () => {
  it('holds more, once for each key, and is charged whole', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 5);
    const grown = { outcome: 'grown', isRepeat: false, amount: 12, available: 38 };
    expect(await holder.grow('h', 'a', 7)).toEqual(grown);
    expect(await holder.grow('h', 'a', 7)).toEqual({ ...grown, isRepeat: true });
    expect(await holder.grow('h', 'b', 1)).toMatchObject({ amount: 13, available: 37 });
    expect(await leads(organization)).toEqual({ available: 37, held: 13 });
    expect(await holder.capture('h')).toMatchObject({ outcome: 'captured', captured: 13, returned: 0 });
    expect(await holder.grow('h', 'a', 7)).toEqual({ ...grown, isRepeat: true, amount: 13 });
    expect(await holder.grow('h', 'c', 1)).toMatchObject({ outcome: 'hold_captured' });
  });

  it('is still the hold of its first request: a repeat of that is a repeat', async () => {
    const { holder } = await newHolder();
    await holder.hold('h', 5);
    await holder.grow('h', 'a', 7);
    expect(await holder.hold('h', 5)).toMatchObject({ outcome: 'held', isRepeat: true });
    expect(await holder.hold('h', 12)).toMatchObject({ outcome: 'id_reused' });
  });

  it('burns what it took later, later', async () => {
    const { organization, holder } = await newHolder();
    await addGrant(database.superuser, organization.organizationId, { source: 'purchase', amount: 10, isPaid: true });
    await holder.hold('h', 48);
    await holder.grow('h', 'a', 5);
    await holder.capture('h', 49);
    const [plan, bought] = await grantsOf(database.superuser, organization.organizationId);
    expect([plan!.remaining, bought!.remaining]).toEqual([1, 10]);
  });

  it('answers each row by itself, also two for one hold', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 5);
    const row = { ...organization, holdId: 'h', key: 'a', amount: 40 };
    const answers = await growHolds(database.api, [
      row,
      { ...row, holdId: 'nothing' },
      row,
      { ...row, key: 'b' },
      { ...row, key: 'c', amount: 5 },
    ]);
    expect(answers.map(({ outcome, isRepeat }) => [outcome, isRepeat])).toEqual([
      ['grown', false],
      ['hold_unknown', false],
      ['grown', true],
      ['tokens_insufficient', false],
      ['grown', false],
    ]);
    expect(await leads(organization)).toEqual({ available: 0, held: 50 });
  });
});

describe('a hold that is captured in parts', () => {
  it('stays open; each part is a charge of its own, once for each key; the rest returns at the end', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    const first = await holder.capture('h', 6, { key: 'a', isLast: false });
    expect(first).toEqual({
      outcome: 'captured',
      isRepeat: false,
      chargeId: 'h.1',
      captured: 6,
      returned: 0,
      capturedInAll: 6,
    });
    expect(await holder.capture('h', 6, { key: 'a', isLast: false })).toEqual({ ...first, isRepeat: true });
    expect(await holder.capture('h', 7, { key: 'a', isLast: false })).toMatchObject({ outcome: 'key_reused' });
    expect(await holder.capture('h', 5, { key: 'b', isLast: false })).toMatchObject({
      chargeId: 'h.2',
      capturedInAll: 11,
    });
    expect(await leads(organization)).toEqual({ available: 30, held: 9 });
    const last = { outcome: 'captured', isRepeat: false, chargeId: 'h.3', captured: 2, returned: 7, capturedInAll: 13 };
    expect(await holder.capture('h', 2)).toEqual(last);
    expect(await holder.capture('h', 2)).toEqual({ ...last, isRepeat: true });
    expect(await holder.capture('h', 3)).toMatchObject({ outcome: 'hold_captured' });
    expect(await holder.capture('h', 5, { key: 'b', isLast: false })).toMatchObject({ captured: 5, isRepeat: true });
    expect(await leads(organization)).toEqual({ available: 37, held: 0 });
  });

  it('gives back what is not charged when it is released, or lapses', async () => {
    const { organization, holder } = await newHolder();
    for (const id of ['released', 'lapsed']) {
      await holder.hold(id, 10);
      await holder.capture(id, 4, { key: 'a', isLast: false });
    }
    expect(await holder.release('released')).toMatchObject({ outcome: 'released', returned: 6, capturedInAll: 4 });
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    // A reader sees it before anybody has settled it.
    const { rows } = await database.superuser.query(
      `select balance from ai_tokens where organization_id = $1 and token_type = 'lead_generation'`,
      [organization.organizationId],
    );
    expect(rows).toEqual([{ balance: 42 }]);
    expect(await holder.release('lapsed')).toMatchObject({
      outcome: 'lapsed',
      isRepeat: true,
      returned: 6,
      capturedInAll: 4,
    });
    expect(await leads(organization)).toEqual({ available: 42, held: 0 });
  });

  it('may be charged to the last token and then end without a charge', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 10);
    await holder.capture('h', 10, { key: 'a', isLast: false });
    expect(await holder.capture('h', 1, { key: 'b', isLast: false })).toMatchObject({ outcome: 'amount_above_hold' });
    expect(await holder.capture('h')).toMatchObject({ outcome: 'captured', chargeId: null, captured: 0, returned: 0 });
    expect(await leads(organization)).toEqual({ available: 40, held: 0 });
  });

  it('an end that finds nothing left to charge has its repeat, under a key and by the rule cap too', async () => {
    const { organization, holder } = await newHolder();
    await captureRule(organization, 'cap');
    const ended = { outcome: 'captured', chargeId: null, captured: 0, returned: 0, capturedInAll: 10 };
    for (const [id, amount, part] of [
      ['keyed', null, { key: 'end', isLast: true }],
      ['capped', 5, undefined],
    ] as const) {
      await holder.hold(id, 10);
      await holder.capture(id, 10, { key: 'a', isLast: false });
      expect(await holder.capture(id, amount, part)).toEqual({ ...ended, isRepeat: false });
      expect(await holder.capture(id, amount, part)).toEqual({ ...ended, isRepeat: true });
      expect(await holder.refund(`${id}.2`, 1)).toMatchObject({ outcome: 'charge_unknown' });
      expect(await holder.refund(`${id}.1`, null)).toMatchObject({ outcome: 'refunded', refunded: 10 });
    }
  });

  it('a capture without a key is no repeat of an end that had one, nor is one under an empty key', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 10);
    await holder.capture('h', 10, { key: 'end', isLast: true });
    expect(await holder.capture('h')).toMatchObject({ outcome: 'hold_captured', isRepeat: false });
    await captureRule(organization, 'cap');
    await holder.hold('capped', 10);
    await holder.capture('capped', 14);
    expect(await holder.capture('capped', 14, { key: '', isLast: true })).toMatchObject({ outcome: 'hold_captured' });
  });

  it('asking for nothing is no repeat of asking for all', async () => {
    const { holder } = await newHolder();
    await holder.hold('h', 10);
    await holder.capture('h', null, { key: 'a', isLast: false });
    expect(await holder.capture('h', 0, { key: 'a', isLast: false })).toMatchObject({ outcome: 'key_reused' });
    expect(await holder.capture('h', null, { key: 'a', isLast: false })).toMatchObject({
      isRepeat: true,
      captured: 10,
    });
  });

  it('one that is refused says that it charged nothing', async () => {
    const { holder } = await newHolder();
    await holder.hold('h', 10);
    await holder.capture('h', 4);
    const refused = { outcome: 'hold_captured', isRepeat: false, chargeId: null, captured: 0, capturedInAll: 4 };
    expect(await holder.capture('h', 5)).toMatchObject(refused);
    expect(await holder.capture('h', 1, { key: 'a', isLast: false })).toMatchObject(refused);
  });

  it('ends by a capture with a key, unless that one says that it is not the last', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 10);
    const [ending] = await captureHolds(database.api, [{ ...organization, holdId: 'h', amount: 4, key: 'a' }]);
    expect(ending).toMatchObject({ outcome: 'captured', captured: 4, returned: 6 });
    expect(await leads(organization)).toEqual({ available: 46, held: 0 });
  });

  it('a part needs a key', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 10);
    const rows = await database.api.query(
      'select h.outcome from tollgate.capture_holds(array[$1], array[$2], array[$3], array[4::bigint], array[null], array[false]) h',
      [organization.principal, organization.organizationId, 'h'],
    );
    expect(rows.rows).toEqual([{ outcome: 'key_invalid' }]);
  });
});

describe('R10: a capture of more than was held goes by the rule of its organization', () => {
  it('refuse: nothing is charged', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 10);
    expect(await holder.capture('h', 11)).toMatchObject({ outcome: 'amount_above_hold', captured: 0 });
    expect(await leads(organization)).toEqual({ available: 40, held: 10 });
  });

  it('cap: what is held is charged, and the answer says so; a repeat too', async () => {
    const { organization, holder } = await newHolder();
    await captureRule(organization, 'cap');
    await holder.hold('h', 10);
    const capped = { outcome: 'captured', captured: 10, returned: 0 };
    expect(await holder.capture('h', 14)).toMatchObject({ ...capped, isRepeat: false });
    expect(await holder.capture('h', 14)).toMatchObject({ ...capped, isRepeat: true });
    expect(await holder.capture('h', 10)).toMatchObject({ outcome: 'hold_captured' });
  });

  it('draw: a limit holds for what is drawn, too', async () => {
    const { organization, holder } = await newHolder();
    await captureRule(organization, 'draw');
    await asOwner(database, `select tollgate.set_sub_limit($1, 'lead_generation', 'feature', '*', 'day', 12)`, [
      organization.organizationId,
    ]);
    await holder.hold('h', 10);
    expect(await holder.capture('h', 13)).toMatchObject({ outcome: 'limit_reached', captured: 0 });
    expect(await holder.capture('h', 12)).toMatchObject({ outcome: 'captured', captured: 12 });
  });

  it('draw: the rest comes from the balance, or nothing is charged', async () => {
    const { organization, holder } = await newHolder();
    await captureRule(organization, 'draw');
    await holder.hold('h', 10);
    await holder.hold('other', 30);
    expect(await holder.capture('h', 21)).toMatchObject({ outcome: 'tokens_insufficient', captured: 0 });
    expect(await leads(organization)).toEqual({ available: 10, held: 40 });
    const drawn = { outcome: 'captured', captured: 20, returned: 0 };
    expect(await holder.capture('h', 20)).toMatchObject({ ...drawn, isRepeat: false });
    expect(await holder.capture('h', 20)).toMatchObject({ ...drawn, isRepeat: true });
    expect(await leads(organization)).toEqual({ available: 0, held: 30 });
  });
});

describe('R11: a refund', () => {
  it('gives back a charge in parts, never above it; twice under a key is once', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    await holder.capture('h');
    const first = { outcome: 'refunded', refunded: 8, refundedInAll: 8, charged: 20, available: 38 };
    expect(await holder.refund('h.1', 8, 'k')).toMatchObject({ ...first, isRepeat: false });
    expect(await holder.refund('h.1', 8, 'k')).toMatchObject({ ...first, isRepeat: true });
    expect(await holder.refund('h.1', 9, 'k')).toMatchObject({ outcome: 'key_reused' });
    expect(await holder.refund('h.1', 13)).toMatchObject({ outcome: 'amount_above_charge', refundedInAll: 8 });
    expect(await holder.refund('h.1', null)).toMatchObject({ outcome: 'refunded', refunded: 12, refundedInAll: 20 });
    expect(await holder.refund('h.1', null)).toMatchObject({ outcome: 'refunded', isRepeat: true, refundedInAll: 20 });
    expect(await leads(organization)).toEqual({ available: 50, held: 0 });
  });

  it('of 20 parallel ones exactly as many win as the charge bears', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    await holder.capture('h');
    const answers = await Promise.all(Array.from({ length: 20 }, () => holder.refund('h.1', 3)));
    expect(answers.filter(({ outcome }) => outcome === 'refunded')).toHaveLength(6);
    expect(await leads(organization)).toEqual({ available: 48, held: 0 });
  });

  it('goes back to the grants that the charge burnt, the last burnt first', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await addGrant(database.superuser, organizationId, { source: 'purchase', amount: 10, isPaid: true });
    await holder.hold('h', 55);
    await holder.capture('h', 48, { key: 'a', isLast: false });
    await holder.capture('h', 6);
    const remaining = async () => (await grantsOf(database.superuser, organizationId)).map((grant) => grant.remaining);
    expect(await remaining()).toEqual([0, 6]);
    await holder.refund('h.2', 5);
    expect(await remaining()).toEqual([1, 10]);
    await holder.refund('h.1', null);
    await holder.refund('h.2', null);
    expect(await remaining()).toEqual([50, 10]);
  });

  it('of a second part goes back to the grants that this part burnt', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await addGrant(database.superuser, organizationId, { source: 'purchase', amount: 10, isPaid: true });
    await holder.hold('h', 58);
    await holder.capture('h', 50, { key: 'a', isLast: false });
    await holder.capture('h', 6, { key: 'b', isLast: false });
    await holder.capture('h', 2);
    await holder.refund('h.2', null);
    const grants = await grantsOf(database.superuser, organizationId);
    expect(grants.map((grant) => grant.remaining)).toEqual([0, 8]);
  });

  it('T5: of plan tokens whose period is over stays expired, of bought ones returns for seven days', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await addGrant(database.superuser, organizationId, {
      source: 'purchase',
      amount: 10,
      isPaid: true,
      expiresIn: '40 days',
    });
    await holder.hold('h', 55);
    await holder.capture('h');
    await elapse(database.superuser, organizationId, '45 days');
    expect(await holder.refund('h.1', null)).toMatchObject({ outcome: 'refunded', refunded: 55, available: 55 });
    // What was used in the period that is over stays used in that one.
    const { rows } = await database.superuser.query(
      `select used_in_period from tollgate.balances where organization_id = $1 and token_type = 'lead_generation'`,
      [organizationId],
    );
    expect(rows).toEqual([{ used_in_period: 0 }]);
    await elapse(database.superuser, organizationId, '8 days');
    expect(await holder.hold('next', 51)).toMatchObject({ outcome: 'tokens_insufficient', available: 50 });
  });

  it('stands in the usage log as a negative line, and lowers what the period used', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 20);
    await holder.capture('h');
    await holder.refund('h.1', 8);
    const log = await database.superuser.query(
      'select tokens_deducted, charge_id from ai_token_usage_log where organization_id = $1 order by id',
      [organization.organizationId],
    );
    expect(log.rows).toEqual([
      { tokens_deducted: 20, charge_id: 'h.1' },
      { tokens_deducted: -8, charge_id: 'h.1' },
    ]);
    const { rows } = await database.superuser.query(
      `select used_in_period from tollgate.balances where organization_id = $1 and token_type = 'lead_generation'`,
      [organization.organizationId],
    );
    expect(rows).toEqual([{ used_in_period: 12 }]);
  });

  it('why these tokens: one query names the grants of any usage line, and their price', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId } = organization;
    await database.superuser.query(
      `select tollgate.add_grant($1, 'lead_generation', 'purchase', 10, 100, true, null, null, 'test', l.now, 20000, 'EUR')
         from (select tollgate.lock_balances(array[$1], array['lead_generation']) as now) l`,
      [organizationId],
    );
    await holder.hold('h', 55);
    await holder.capture('h', 48, { key: 'a', isLast: false });
    await holder.capture('h', 6);
    await holder.refund('h.2', 5);
    const { rows } = await database.superuser.query(
      `select l.charge_id, l.tokens_deducted, array_agg(array[s.source, s.tokens::text, s.unit_price_micros::text] order by s.grant_id) as why
         from ai_token_usage_log l
         join tollgate.usage_sources s on s.usage_id = l.id
        where l.organization_id = $1
        group by l.id
        order by l.id`,
      [organizationId],
    );
    expect(rows).toEqual([
      { charge_id: 'h.1', tokens_deducted: 48, why: [['allowance', '48', null]] },
      {
        charge_id: 'h.2',
        tokens_deducted: 6,
        why: [
          ['allowance', '2', null],
          ['purchase', '4', '20000'],
        ],
      },
      {
        charge_id: 'h.2',
        tokens_deducted: -5,
        why: [
          ['allowance', '-1', null],
          ['purchase', '-4', '20000'],
        ],
      },
    ]);
  });
});

describe('refusals, in their order', () => {
  it('of an extension', async () => {
    const { organization, holder } = await newHolder();
    await admitJob(database.api, admissionOf(organization, 'job'));
    for (const id of ['open', 'captured', 'released', 'lapsed']) await holder.hold(id, 2);
    await holder.extend('open', 3_600_000);
    await holder.capture('captured');
    await holder.release('released');
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    const nobody = holderOf(database.api, { ...organization, principal: 'user:nobody' });
    const outcomes = [
      await nobody.extend('nothing', 0),
      await holder.extend('nothing', 0),
      await holder.extend('job', 0),
      await holder.extend('captured', 0),
      await holder.extend('captured', 1_000),
      await holder.extend('released', 1_000),
      await holder.extend('lapsed', 1_000),
    ].map(({ outcome }) => outcome);
    expect(outcomes).toEqual([...EXTENSION_REFUSALS]);
  });

  it('of a growth', async () => {
    const { organization, holder } = await newHolder();
    await asOwner(database, 'select tollgate.set_sub_limit($1, $2, $3, $4, $5, $6)', [
      organization.organizationId,
      'lead_generation',
      'feature',
      'generate_leads',
      'day',
      30,
    ]);
    await admitJob(database.api, admissionOf(organization, 'job'));
    for (const id of ['open', 'captured', 'released', 'lapsed']) await holder.hold(id, 2);
    await holder.extend('open', 3_600_000);
    await holder.grow('open', 'a', 1);
    await holder.capture('captured');
    await holder.release('released');
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    const nobody = holderOf(database.api, { ...organization, principal: 'user:nobody' });
    const operator = await newOperator(database);
    await operator.suspend(organization.organizationId);
    const outcomes = [
      await nobody.grow('nothing', '', 0),
      await holder.grow('nothing', '', 0),
      await holder.grow('job', '', 0),
    ].map(({ outcome }) => outcome);
    await operator.resume(organization.organizationId);
    for (const growth of [
      await holder.grow('job', '', 0),
      await holder.grow('captured', '', 0),
      await holder.grow('open', 'a', 2),
      await holder.grow('captured', 'b', 0),
      await holder.grow('released', 'b', 0),
      await holder.grow('lapsed', 'b', 0),
      await holder.grow('open', 'b', 0),
    ])
      outcomes.push(growth.outcome);
    await database.superuser.query(`update organizations set plan = 'starter' where id = $1`, [
      organization.organizationId,
    ]);
    outcomes.push((await holder.grow('open', 'b', 99)).outcome);
    await database.superuser.query(`update organizations set plan = 'pro' where id = $1`, [
      organization.organizationId,
    ]);
    outcomes.push((await holder.grow('open', 'b', 99)).outcome);
    await asOwner(database, 'select tollgate.set_sub_limit($1, $2, $3, $4, $5, $6)', [
      organization.organizationId,
      'lead_generation',
      'feature',
      'generate_leads',
      'day',
      3000,
    ]);
    outcomes.push((await holder.grow('open', 'b', 99)).outcome);
    expect(outcomes).toEqual([...GROWTH_REFUSALS]);
  });

  it('of a refund; none of them takes its key', async () => {
    const { organization, holder } = await newHolder();
    await holder.hold('h', 2);
    await holder.capture('h');
    await holder.hold('open', 2);
    await holder.refund('h.1', 1, 'taken');
    const nobody = holderOf(database.api, { ...organization, principal: 'user:nobody' });
    const memberId = `member-of-${organization.organizationId}`;
    await database.superuser.query('insert into user_profiles (id, organization_id) values ($1, $2)', [
      ...[memberId, organization.organizationId],
    ]);
    const member = holderOf(database.api, { ...organization, principal: `user:${memberId}` });
    const outcomes = [
      await nobody.refund('h.1', 1),
      await member.refund('h.1', 1),
      await holder.refund('h.1', 0, 'taken'),
      await holder.refund('h.2', 0, 'k'),
      await holder.refund('h.1', 0, 'k'),
      await holder.refund('h.1', 2, 'k'),
    ].map(({ outcome }) => outcome);
    expect(outcomes).toEqual([...REFUND_REFUSALS]);
    for (const charge of ['open.1', 'h', 'h.', '.1', 'h.01', 'h.1.1', 'h.99999999999']) {
      expect(await holder.refund(charge, 1, 'k'), charge).toMatchObject({ outcome: 'charge_unknown' });
    }
    expect(await holder.refund('h.1', 1, 'k')).toMatchObject({ outcome: 'refunded' });
  });
});
