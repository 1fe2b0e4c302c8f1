import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { listBalances } from '../../db/balances.ts';
import { catalogueContent } from '../../db/catalogue.ts';
import { holdTokens } from '../../db/holds.ts';
import { admitJob } from '../../db/jobs.ts';
import { checkTokens, deductTokens } from '../../db/tokens.ts';
import { admissionOf } from '../support/admission.ts';
import { asOwner } from '../support/asOwner.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant, grantsOf } from '../support/grant.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

async function newHolder(
  plan: 'pro' | 'enterprise' = 'pro',
): Promise<{ organization: TestOrganization; holder: Holder }> {
  const organization = await createOrganization(database.superuser, plan);
  return { organization, holder: holderOf(database.api, organization) };
}

async function balances(
  { organizationId }: TestOrganization,
  ...types: string[]
): Promise<Record<string, [number, number]>> {
  const { rows } = await database.superuser.query(
    'select token_type, available, held from tollgate.balances where organization_id = $1 and token_type = any ($2) order by 1',
    [organizationId, types],
  );
  return Object.fromEntries(rows.map(({ token_type, available, held }) => [token_type, [available, held]]));
}

describe('sub-limits', () => {
  const limit = (
    { organizationId }: TestOrganization,
    scope: string,
    subject: string,
    every: string,
    tokens: number | null,
  ) =>
    asOwner(database, `select tollgate.set_sub_limit($1, 'lead_generation', $2, $3, $4, $5)`, [
      organizationId,
      scope,
      subject,
      every,
      tokens,
    ]);

  async function userOf(organization: TestOrganization, name: string): Promise<Holder> {
    const { organizationId } = organization;
    const id = `${organizationId}-${name}`;
    await database.superuser.query('insert into user_profiles (id, organization_id) values ($1, $2)', [
      id,
      organizationId,
    ]);
    return holderOf(database.api, { ...organization, principal: `user:${id}` });
  }

  it('give each user an amount of his own; keys are not users', async () => {
    const { organization, holder: key } = await newHolder();
    const [ann, bob] = [await userOf(organization, 'ann'), await userOf(organization, 'bob')];
    await limit(organization, 'user', '*', 'day', 10);
    expect(await ann.hold('a1', 8)).toMatchObject({ outcome: 'held' });
    expect(await ann.hold('a2', 3)).toMatchObject({ outcome: 'limit_reached', available: 42 });
    expect(await ann.hold('a3', 2)).toMatchObject({ outcome: 'held' });
    expect(await bob.hold('b1', 10)).toMatchObject({ outcome: 'held' });
    expect(await key.hold('k1', 30)).toMatchObject({ outcome: 'held' });
  });

  it('count what is held and charged, and not what came back', async () => {
    const { organization, holder } = await newHolder();
    await limit(organization, 'key', organization.principal, 'period', 10);
    for (const end of ['released', 'partly', 'lapsed']) await holder.hold(end, 3);
    expect(await holder.hold('no', 2)).toMatchObject({ outcome: 'limit_reached' });
    await holder.release('released');
    await holder.capture('partly', 1);
    expect(await holder.hold('six', 6)).toMatchObject({ outcome: 'held' });
    await elapse(database.superuser, organization.organizationId, '61 seconds');
    // 1 is charged; what lapsed has come back.
    expect(await holder.hold('nine', 9)).toMatchObject({ outcome: 'held' });
    expect(await holder.hold('one more', 1, { holdId: 'ten' })).toMatchObject({ outcome: 'limit_reached' });
    await holder.refund('partly.1', null);
    expect(await holder.hold('ten', 1)).toMatchObject({ outcome: 'held' });
  });

  it('count nothing of a hold that the balance cannot bear', async () => {
    const { organization, holder } = await newHolder();
    await limit(organization, 'feature', 'generate_leads', 'day', 60);
    expect(await holder.hold('too much', 51, { holdId: 'h' })).toMatchObject({ outcome: 'tokens_insufficient' });
    expect(await holder.hold('h', 50)).toMatchObject({ outcome: 'held' });
  });

  it('begin their day at midnight where the organization is', async () => {
    const { organization, holder } = await newHolder();
    await database.superuser.query(
      `update tollgate.billing_cycles set time_zone = 'Asia/Kathmandu' where organization_id = $1`,
      [organization.organizationId],
    );
    await limit(organization, 'feature', 'generate_leads', 'day', 4);
    await holder.hold('h', 4);
    const { rows } = await database.superuser.query(
      `select (c.window_start at time zone 'Asia/Kathmandu')::time::text as begins from tollgate.limit_counters c where c.organization_id = $1`,
      [organization.organizationId],
    );
    expect(rows).toEqual([{ begins: '00:00:00' }]);
  });

  it('begin anew with the day, and with the period', async () => {
    const { organization, holder } = await newHolder();
    await limit(organization, 'feature', 'generate_leads', 'day', 4);
    await limit(organization, 'feature', '*', 'period', 6);
    await holder.hold('h1', 4);
    await holder.capture('h1');
    await elapse(database.superuser, organization.organizationId, '24 hours');
    expect(await holder.hold('h2', 3)).toMatchObject({ outcome: 'limit_reached' });
    expect(await holder.hold('h2', 2)).toMatchObject({ outcome: 'held' });
    await elapse(database.superuser, organization.organizationId, '32 days');
    expect(await holder.hold('h3', 4)).toMatchObject({ outcome: 'held' });
  });

  it('hold in a batch and in parallel: exactly what they allow', async () => {
    const { organization, holder } = await newHolder('enterprise');
    await limit(organization, 'feature', 'generate_leads', 'day', 50);
    const batch = (name: string) =>
      holdTokens(
        database.api,
        Array.from({ length: 10 }, (_, n) => holder.request(`${name}-${n}`, 3)),
      );
    const answers = (await Promise.all(['a', 'b', 'c', 'd'].map(batch))).flat();
    expect(answers.filter(({ outcome }) => outcome === 'held')).toHaveLength(16);
    expect(answers.filter(({ outcome }) => outcome === 'limit_reached')).toHaveLength(24);
  });

  it('hold for deductions and jobs too, and are lifted', async () => {
    const { organization, holder } = await newHolder();
    const { organizationId, principal } = organization;
    await limit(organization, 'feature', 'generate_leads', 'day', 4);
    const deduction = { organizationId, principal, feature: 'generate_leads', metadata: {}, idempotency: null };
    expect(await deductTokens(database.api, { ...deduction, holdId: 'd1' })).toMatchObject({
      outcome: 'limit_reached',
    });
    expect(await admitJob(database.api, admissionOf(organization, 'job'))).toMatchObject({ outcome: 'limit_reached' });
    await limit(organization, 'feature', 'generate_leads', 'day', null);
    expect(await admitJob(database.api, admissionOf(organization, 'job'))).toMatchObject({ outcome: 'admitted' });
    expect(await holder.hold('h', 5)).toMatchObject({ outcome: 'held' });
  });
});

describe('pooled tokens and burn orders, by the catalogue', () => {
  const content = catalogueContent();
  const apply = (digest: string, change: { allowances?: unknown; fallbacks?: unknown; plans?: unknown }) =>
    asOwner(database, 'select tollgate.apply_catalogue($1, $2)', [digest, { ...content, ...change }]);
  const fallbacks = ['general', 'forecast'].map((tokenType, rank) => ({
    plan: 'pro',
    feature: 'generate_leads',
    rank,
    tokenType,
  }));

  it('a feature falls back to other types, in order, once its own cannot bear a whole hold', async () => {
    await apply('with fallbacks', { fallbacks });
    const { organization, holder } = await newHolder();
    expect(await holder.hold('own', 45)).toMatchObject({ tokenType: 'lead_generation', available: 5 });
    expect(await holder.hold('first', 48)).toMatchObject({ tokenType: 'general', available: 2 });
    expect(await holder.hold('second', 30)).toMatchObject({ tokenType: 'forecast', available: 0 });
    expect(await holder.hold('none', 6)).toMatchObject({
      outcome: 'tokens_insufficient',
      tokenType: 'lead_generation',
      available: 5,
    });
    expect(await holder.hold('first', 48)).toMatchObject({
      outcome: 'held',
      isRepeat: true,
      tokenType: 'general',
      available: 2,
    });
    expect(await holder.capture('first', 40)).toMatchObject({ outcome: 'captured', returned: 8 });
    expect(await holder.refund('first.1', 1)).toMatchObject({ tokenType: 'general' });
    expect(await balances(organization, 'general', 'forecast', 'lead_generation')).toEqual({
      forecast: [0, 30],
      general: [11, 0],
      lead_generation: [5, 45],
    });
  });

  it('in one batch, where a hold of the other type comes first', async () => {
    await apply('with fallbacks', { fallbacks });
    const { holder } = await newHolder();
    const answers = await holdTokens(database.api, [
      holder.request('g', 30, { feature: 'generate_insight' }),
      holder.request('l1', 50),
      holder.request('l2', 21),
      holder.request('l3', 20),
    ]);
    expect(answers.map(({ outcome, tokenType }) => [outcome, tokenType])).toEqual([
      ['held', 'general'],
      ['held', 'lead_generation'],
      ['held', 'forecast'],
      ['held', 'general'],
    ]);
  });

  it('R1: parallel holds never take more than all the types have, and never deadlock', async () => {
    await apply('with fallbacks', { fallbacks });
    const { organization, holder } = await newHolder();
    const answers = await Promise.all([
      ...Array.from({ length: 30 }, (_, n) => holder.hold(`l${n}`, 5)),
      ...Array.from({ length: 30 }, (_, n) => holder.hold(`g${n}`, 1, { feature: 'generate_insight' })),
    ]);
    const held = answers.filter(({ outcome }) => outcome === 'held');
    const after = await balances(organization, 'general', 'forecast', 'lead_generation');
    expect(held.length).toBeGreaterThan(26);
    expect(Object.values(after).map(([available, held]) => available + held)).toEqual([30, 50, 50]);
  });

  it('a plan that does not include the feature does not reach it by a detour', async () => {
    await apply('starter fallbacks', {
      allowances: content.allowances.map((allowance) =>
        allowance.plan === 'starter' && allowance.tokenType === 'general' ? { ...allowance, tokens: 10 } : allowance,
      ),
      fallbacks: [{ plan: 'starter', feature: 'generate_leads', rank: 0, tokenType: 'general' }],
    });
    const organization = await createOrganization(database.superuser, 'starter');
    await database.superuser.query('update ai_tokens set balance = 100 where organization_id = $1', [
      organization.organizationId,
    ]);
    const holder = holderOf(database.api, organization);
    expect(await holder.hold('h', 5)).toMatchObject({ outcome: 'feature_not_available' });
    // Where its own type could not bear it, either.
    await database.superuser.query(
      `update ai_tokens set balance = 0 where organization_id = $1 and token_type = 'lead_generation'`,
      [organization.organizationId],
    );
    expect(await holder.hold('h', 5)).toMatchObject({ outcome: 'feature_not_available' });
  });

  it('a type that the plan lacks is no fallback, whatever is left of it: a check counts on it no more than a hold', async () => {
    await apply('with fallbacks', { fallbacks });
    const { organization, holder } = await newHolder();
    const check = async () => {
      const alone = { ...organization, feature: 'generate_leads' };
      const [one, other] = await checkTokens(database.api, [alone, { ...alone, organizationId: 'nobody' }]);
      expect([one, other?.outcome]).toEqual([...(await checkTokens(database.api, [alone])), 'not_a_member']);
      return one;
    };
    await holder.hold('h', 48);
    await holder.hold('f', 30, { feature: 'forecast_revenue' });
    expect(await check()).toMatchObject({ outcome: 'sufficient', available: 2 });
    const withoutGeneral = content.allowances.filter(
      ({ plan, tokenType }) => plan !== 'pro' || tokenType !== 'general',
    );
    await apply('general is no part of pro', { fallbacks, allowances: withoutGeneral });
    await addGrant(database.superuser, organization.organizationId, { tokenType: 'general', amount: 100 });
    expect(await check()).toEqual({
      outcome: 'tokens_insufficient',
      tokenType: 'lead_generation',
      tokens: 5,
      available: 2,
    });
    expect(await holder.hold('more', 5)).toMatchObject({ outcome: 'tokens_insufficient' });
    await apply('with fallbacks', { fallbacks });
    expect(await check()).toMatchObject({ outcome: 'sufficient' });
  });

  it('jobs and deductions fall back too, and say to what', async () => {
    await apply('with fallbacks', { fallbacks });
    const { organization, holder } = await newHolder();
    const { organizationId, principal } = organization;
    await holder.hold('h', 48);
    expect(await admitJob(database.api, admissionOf(organization, 'job'))).toMatchObject({
      answer: { tokenType: 'general', tokens: 5 },
    });
    const deduction = {
      organizationId,
      principal,
      holdId: 'd',
      feature: 'generate_leads',
      metadata: {},
      idempotency: null,
    };
    expect(await deductTokens(database.api, deduction)).toMatchObject({
      outcome: 'deducted',
      tokenType: 'general',
      available: 40,
    });
  });

  it.each([
    ['soonest_expiry', [4, 1, 3, 2, 0]],
    ['free_first', [1, 3, 4, 2, 0]],
    ['oldest', [0, 1, 2, 3, 4]],
    ['newest', [4, 3, 2, 1, 0]],
  ] as const)('%s burns in its order, at once when the catalogue changes', async (burnOrder, order) => {
    await apply('as it is', {});
    for (const way of ['a hold', 'a growth', 'an edit']) {
      const { organization, holder } = await newHolder('enterprise');
      const { organizationId } = organization;
      await database.superuser.query('update ai_tokens set balance = 0 where organization_id = $1', [organizationId]);
      await addGrant(database.superuser, organizationId, { amount: 1, priority: 1 });
      await holder.hold('open', 1);
      const grant = (isPaid: boolean, expiresIn: string | null) =>
        addGrant(database.superuser, organizationId, { source: 'purchase', amount: 2, isPaid, expiresIn });
      const ids = [
        await grant(true, null),
        await grant(false, '2 days'),
        await grant(true, '3 days'),
        await grant(false, '3 days'),
        await grant(true, '1 day'),
      ];
      // The same instant for both: then free comes before paid.
      await database.superuser.query(
        'update tollgate.grants g set expires_at = (select o.expires_at from tollgate.grants o where o.id = $2) where g.id = $1',
        [ids[3], ids[2]],
      );
      await apply(`burning ${burnOrder} by ${way}`, { plans: content.plans.map(({ plan }) => ({ plan, burnOrder })) });
      const listed = (await listBalances(database.api, organizationId)).find(
        ({ tokenType }) => tokenType === 'lead_generation',
      );
      expect(listed!.grants.flatMap(({ id }) => (ids.includes(id) ? [ids.indexOf(id)] : []))).toEqual(order);
      const burnt: number[] = [];
      for (let n = 0; n < 5; n++) {
        if (way === 'a hold') await holder.hold(`h${n}`, 2);
        else if (way === 'a growth') await holder.grow('open', `key-${n}`, 2);
        else {
          await database.superuser.query(
            `update ai_tokens set balance = balance - 2 where organization_id = $1 and token_type = 'lead_generation'`,
            [organizationId],
          );
        }
        const grants = await grantsOf(database.superuser, organizationId);
        burnt.push(
          ids.findIndex((id, at) => !burnt.includes(at) && grants.find((row) => row.id === id)!.remaining === 0),
        );
      }
      expect(burnt, way).toEqual(order);
    }
    await apply('as it is again', {});
  });
});

describe('adjustments', () => {
  const adjust = ({ organizationId }: TestOrganization, amount: number, reason: string | null, key: string) =>
    asOwner(database, `select * from tollgate.adjust_balance($1, 'lead_generation', $2, 'ann', $3, $4)`, [
      organizationId,
      amount,
      reason,
      key,
    ]);

  it('name who and why, count once for each key, and never make a balance negative', async () => {
    const { organization } = await newHolder();
    const [first] = await adjust(organization, 7, 'a gift', 'k1');
    expect(first).toMatchObject({ outcome: 'adjusted', is_repeat: false, available: '57' });
    expect(await adjust(organization, 7, 'a gift', 'k1')).toEqual([{ ...first, is_repeat: true }]);
    expect(await adjust(organization, 8, 'a gift', 'k1')).toMatchObject([{ outcome: 'key_reused' }]);
    expect(await adjust(organization, -58, 'too much', 'k2')).toMatchObject([{ outcome: 'tokens_insufficient' }]);
    expect(await adjust(organization, -57, 'all of it', 'k2')).toMatchObject([{ outcome: 'adjusted', available: '0' }]);
    for (const reason of [null, '', '   ', 'x'.repeat(501)]) {
      expect(await adjust(organization, 1, reason, 'k3')).toMatchObject([{ outcome: 'reason_missing' }]);
    }
    expect(await adjust(organization, 0, 'nothing', 'k3')).toMatchObject([{ outcome: 'amount_invalid' }]);
  });

  it('are undone by a reversal that names them, once', async () => {
    const { organization } = await newHolder();
    const [{ adjustment }] = (await adjust(organization, -20, 'a mistake', 'k1')) as [{ adjustment: string }];
    const reverse = () =>
      asOwner(database, `select * from tollgate.reverse_adjustment($1, $2, 'bob', 'it was right')`, [
        organization.organizationId,
        adjustment,
      ]);
    const [reversed] = await reverse();
    expect(reversed).toMatchObject({ outcome: 'reversed', is_repeat: false, available: '50' });
    expect(await reverse()).toEqual([{ ...reversed, is_repeat: true }]);
    const { rows } = await database.superuser.query(
      'select amount, reason, actor, reverses is not null as is_reversal from tollgate.adjustments where organization_id = $1 order by id',
      [organization.organizationId],
    );
    expect(rows).toEqual([
      { amount: -20, reason: 'a mistake', actor: 'ann', is_reversal: false },
      { amount: 20, reason: 'it was right', actor: 'bob', is_reversal: true },
    ]);
  });

  it('an edit of ai_tokens is one too, with the SQL user as its actor', async () => {
    const { organization } = await newHolder();
    await database.superuser.query(
      `update ai_tokens set balance = balance - 3 where organization_id = $1 and token_type = 'lead_generation'`,
      [organization.organizationId],
    );
    const { rows } = await database.superuser.query(
      'select amount, reason, actor from tollgate.adjustments where organization_id = $1',
      [organization.organizationId],
    );
    expect(rows).toEqual([{ amount: -3, reason: 'edit of ai_tokens by SQL', actor: 'sql:postgres' }]);
  });
});
