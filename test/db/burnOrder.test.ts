import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant, type GrantRequest, grantsOf } from '../support/grant.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());
afterEach(() => expectInvariants(database.superuser));

/** Plan pro, whose own allowance was adjusted away: the gate is open and only the named grants count. */
async function holderWith(grants: Record<string, GrantRequest>): Promise<{
  organizationId: string;
  holder: Holder;
  remaining: () => Promise<Record<string, number>>;
}> {
  const organization = await createOrganization(database.superuser, 'pro');
  const { organizationId } = organization;
  await database.superuser.query(
    `update ai_tokens set balance = 0 where organization_id = $1 and token_type = 'lead_generation'`,
    [organizationId],
  );
  const ids = new Map<number, string>();
  for (const [name, grant] of Object.entries(grants)) {
    ids.set(await addGrant(database.superuser, organizationId, grant), name);
  }
  const remaining = async () =>
    Object.fromEntries(
      (await grantsOf(database.superuser, organizationId))
        .filter(({ id }) => ids.has(id))
        .map((grant) => [ids.get(grant.id)!, grant.remaining]),
    );
  return { organizationId, holder: holderOf(database.api, organization), remaining };
}

const free = { amount: 10 } satisfies GrantRequest;
const paid = { amount: 10, source: 'purchase', isPaid: true } satisfies GrantRequest;

describe('which grant a hold takes from', () => {
  const cases: { rule: string; grants: Record<string, GrantRequest>; take: number; left: Record<string, number> }[] = [
    {
      rule: 'priority comes first',
      grants: { late: { ...free, expiresIn: '1 day' }, soon: { ...free, priority: 1 } },
      take: 4,
      left: { late: 10, soon: 6 },
    },
    {
      rule: 'priority comes before paid',
      grants: { free, paid: { ...paid, priority: 99 } },
      take: 4,
      left: { free: 10, paid: 6 },
    },
    {
      rule: 'then the soonest expiry',
      grants: { late: { ...free, expiresIn: '9 days' }, soon: { ...free, expiresIn: '2 days' } },
      take: 4,
      left: { late: 10, soon: 6 },
    },
    {
      rule: 'an expiry comes before none',
      grants: { never: free, someday: { ...free, expiresIn: '900 days' } },
      take: 4,
      left: { never: 10, someday: 6 },
    },
    {
      rule: 'the soonest expiry comes before free',
      grants: { free: { ...free, expiresIn: '9 days' }, paid: { ...paid, expiresIn: '2 days' } },
      take: 4,
      left: { free: 10, paid: 6 },
    },
    { rule: 'then free before paid', grants: { paid, free }, take: 4, left: { paid: 10, free: 6 } },
    { rule: 'then the oldest', grants: { first: free, second: free }, take: 4, left: { first: 6, second: 10 } },
    {
      rule: 'what one does not cover the next one does',
      grants: { second: free, first: { ...free, priority: 1 }, third: paid },
      take: 25,
      left: { first: 0, second: 0, third: 5 },
    },
    {
      rule: 'to the last token of all',
      grants: { first: free, second: paid },
      take: 20,
      left: { first: 0, second: 0 },
    },
  ];
  it.each(cases)('$rule', async ({ grants, take, left }) => {
    const { holder, remaining } = await holderWith(grants);
    expect(await holder.hold('h', take)).toMatchObject({ outcome: 'held' });
    expect(await remaining()).toEqual(left);
  });

  it.each(cases)('$rule, also when a balance is lowered by hand', async ({ grants, take, left }) => {
    const { organizationId, remaining } = await holderWith(grants);
    await database.superuser.query(
      `update ai_tokens set balance = balance - $2 where organization_id = $1 and token_type = 'lead_generation'`,
      [organizationId, take],
    );
    expect(await remaining()).toEqual(left);
  });

  it('the holds of one batch take one after the other', async () => {
    const { holder, remaining } = await holderWith({ first: free, second: paid });
    await holder.hold('a', 6);
    await holder.hold('b', 6);
    expect(await remaining()).toEqual({ first: 0, second: 8 });
  });

  it("a plan's own tokens go before a purchase that never expires", async () => {
    const organization = await createOrganization(database.superuser, 'pro');
    await addGrant(database.superuser, organization.organizationId, paid);
    await holderOf(database.api, organization).hold('h', 55);
    expect((await grantsOf(database.superuser, organization.organizationId)).map(({ remaining }) => remaining)).toEqual(
      [0, 5],
    );
  });
});

describe('where tokens go back to', () => {
  it('a release returns each part to the grant it came from', async () => {
    const { holder, remaining } = await holderWith({ first: free, second: paid });
    await holder.hold('h', 15);
    await holder.release('h');
    expect(await remaining()).toEqual({ first: 10, second: 10 });
  });

  it.each([
    { captured: 4, left: { first: 6, second: 10 } },
    { captured: 10, left: { first: 0, second: 10 } },
    { captured: 13, left: { first: 0, second: 7 } },
  ])('a capture of $captured of 15 charges in burn order and returns the rest', async ({ captured, left }) => {
    const { holder, remaining } = await holderWith({ first: free, second: paid });
    await holder.hold('h', 15);
    await holder.capture('h', captured);
    expect(await remaining()).toEqual(left);
  });

  it('parts of several holds go back to one grant', async () => {
    const { holder, remaining } = await holderWith({ only: free });
    for (const id of ['a', 'b', 'c']) await holder.hold(id, 3);
    await holder.release('a');
    await holder.capture('b', 1);
    expect(await remaining()).toEqual({ only: 6 });
  });

  const expired: { source: NonNullable<GrantRequest['source']>; isPaid: boolean }[] = [
    { source: 'purchase', isPaid: true },
    { source: 'promotion', isPaid: false },
    { source: 'reward', isPaid: false },
  ];
  it.each(expired)(
    'T5: tokens of a $source that has expired come back with seven days of grace, and are gone after them',
    async (kind) => {
      const { organizationId, holder, remaining } = await holderWith({
        only: { amount: 10, expiresIn: '1 day', ...kind },
      });
      await holder.hold('h', 6, { lifetimeMs: 5 * 86_400_000 });
      await elapse(database.superuser, organizationId, '2 days');
      expect(await holder.hold('expired', 1)).toMatchObject({ outcome: 'tokens_insufficient', available: 0 });
      await holder.release('h');
      // Four were never held: they stay expired.
      expect(await remaining()).toEqual({ only: 6 });
      await elapse(database.superuser, organizationId, '167 hours');
      expect(await holder.hold('in-grace', 6)).toMatchObject({ outcome: 'held' });
      await holder.release('in-grace');
      await elapse(database.superuser, organizationId, '2 hours');
      expect(await holder.hold('after-grace', 1)).toMatchObject({ outcome: 'tokens_insufficient', available: 0 });
      expect((await grantsOf(database.superuser, organizationId)).at(-1)).toMatchObject({ remaining: 0, expired: 10 });
    },
  );

  it('T5: tokens of a plan whose period is over stay expired', async () => {
    const organization = await createOrganization(database.superuser, 'pro');
    const { organizationId } = organization;
    const holder = holderOf(database.api, organization);
    await holder.hold('h', 30, { lifetimeMs: 40 * 86_400_000 });
    await elapse(database.superuser, organizationId, '31 days');
    expect(await holder.release('h')).toMatchObject({ outcome: 'released', returned: 30 });
    expect(await grantsOf(database.superuser, organizationId)).toMatchObject([
      { source: 'allowance', remaining: 0, expired: 50 },
      { source: 'allowance', remaining: 50, expired: 0 },
    ]);
  });

  it('T5: a hold over a plan and a purchase that are both over gives back the purchase alone', async () => {
    const organization = await createOrganization(database.superuser, 'pro');
    const { organizationId } = organization;
    const holder = holderOf(database.api, organization);
    await addGrant(database.superuser, organizationId, { ...paid, expiresIn: '3 days' });
    await holder.hold('h', 30, { lifetimeMs: 40 * 86_400_000 });
    await elapse(database.superuser, organizationId, '31 days');
    // Ten of the purchase, which expired sooner, then twenty of the allowance. The capture takes the purchase first.
    await holder.capture('h', 4);
    expect(await grantsOf(database.superuser, organizationId)).toMatchObject([
      { source: 'allowance', remaining: 0, expired: 50 },
      { source: 'purchase', remaining: 6, expired: 0 },
      { source: 'allowance', remaining: 50 },
    ]);
  });
});
