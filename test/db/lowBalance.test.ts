import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HoldPlacement } from '../../db/holds.ts';
import { createPool } from '../../db/pool.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant } from '../support/grant.ts';
import { type Holder, holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let owner: ReturnType<typeof createPool>;
let organization: TestOrganization;
let holder: Holder;
beforeAll(async () => {
  database = await freshDatabase();
  owner = createPool({ url: database.ownerUrl, applicationName: 'test', maxConnections: 2 });
});
afterAll(async () => {
  await owner.end();
  await database.drop();
});
/** 50 lead tokens a month. */
beforeEach(async () => {
  organization = await createOrganization(database.superuser, 'pro');
  holder = holderOf(database.api, organization);
});
afterEach(async () => {
  await expectInvariants(database.superuser);
  const { rows } = await database.superuser.query(
    `select b.organization_id from tollgate.balances b where b.is_low <> coalesce(b.available < b.low_threshold, false)`,
  );
  expect(rows, 'is_low is what the balance says').toEqual([]);
});

async function setThreshold(threshold: number | null, tokenType = 'lead_generation'): Promise<void> {
  await owner.query('select tollgate.set_low_balance($1, $2, $3)', [organization.organizationId, tokenType, threshold]);
}
async function alerts(): Promise<{ tokenType: string; threshold: number; available: number }[]> {
  const { rows } = await database.superuser.query(
    `select o.subject_id as "tokenType", (o.content ->> 'threshold')::bigint as threshold, (o.content ->> 'available')::bigint as available
       from tollgate.outbox o where o.organization_id = $1 and o.kind = 'balance_low' order by o.id`,
    [organization.organizationId],
  );
  return rows;
}
const alert = (threshold: number, available: number) => ({ tokenType: 'lead_generation', threshold, available });
/** What settles lazily does so in the call that looks. */
const look = () => holder.hold('looks', 1_000_000);

describe('a threshold', () => {
  it('R13: crossed by 1,000 parallel debits is told once', async () => {
    await database.superuser.query('update ai_tokens set balance = 1000 where organization_id = $1', [
      organization.organizationId,
    ]);
    await setThreshold(500);
    // As many at once as there are connections: more would only wait for one.
    const fifty = async (caller: number) => {
      const placements: HoldPlacement[] = [];
      for (let n = 0; n < 50; n++) placements.push(await holder.hold(`h-${caller}-${n}`, 1));
      return placements;
    };
    const placements = (await Promise.all(Array.from({ length: 20 }, (_, caller) => fifty(caller)))).flat();
    expect(placements).toHaveLength(1_000);
    expect(placements.every(({ outcome }) => outcome === 'held')).toBe(true);
    expect(await alerts()).toEqual([alert(500, 499)]);
  }, 60_000);

  it('is crossed below it, not at it', async () => {
    await setThreshold(40);
    await holder.hold('to-40', 10);
    expect(await alerts()).toEqual([]);
    await holder.hold('to-39', 1);
    await holder.hold('to-38', 1);
    expect(await alerts()).toEqual([alert(40, 39)]);
  });

  it('is armed again by whatever brings the balance back to it: a grant, a release', async () => {
    await setThreshold(40);
    await holder.hold('one', 20);
    await addGrant(database.superuser, organization.organizationId, { amount: 10 });
    await holder.hold('two', 5);
    await holder.release('one');
    await holder.hold('three', 20);
    expect(await alerts()).toEqual([alert(40, 30), alert(40, 35), alert(40, 35)]);
  });

  it('is not armed by a grant that does not reach it', async () => {
    await setThreshold(40);
    await holder.hold('one', 20);
    await addGrant(database.superuser, organization.organizationId, { amount: 9 });
    await holder.hold('two', 5);
    expect(await alerts()).toEqual([alert(40, 30)]);
  });

  it('is written with the movement or not at all', async () => {
    await setThreshold(40);
    const client = await database.superuser.connect();
    await client.query('begin');
    await client.query('update ai_tokens set balance = 1 where organization_id = $1 and token_type = $2', [
      organization.organizationId,
      'lead_generation',
    ]);
    await client.query('rollback');
    client.release();
    expect(await alerts()).toEqual([]);
    await holder.hold('one', 11);
    expect(await alerts()).toEqual([alert(40, 39)]);
  });
});

describe('time', () => {
  it('a grant’s expiry that nobody saw crosses it when somebody looks', async () => {
    await addGrant(database.superuser, organization.organizationId, { amount: 100, expiresIn: '1 day' });
    await setThreshold(60);
    await elapse(database.superuser, organization.organizationId, '2 days');
    expect(await alerts()).toEqual([]);
    await look();
    expect(await alerts()).toEqual([alert(60, 50)]);
  });

  it('a lapse arms it again', async () => {
    await setThreshold(40);
    await holder.hold('lapses', 20);
    await elapse(database.superuser, organization.organizationId, '2 minutes');
    await look();
    await holder.hold('again', 20);
    expect(await alerts()).toEqual([alert(40, 30), alert(40, 30)]);
  });

  it('a refresh, also a missed one, is no crossing: between the old allowance’s end and the new one nobody is out of tokens', async () => {
    await setThreshold(40);
    for (const days of ['31 days', '95 days']) {
      await elapse(database.superuser, organization.organizationId, days);
      await look();
    }
    expect(await alerts()).toEqual([]);
  });

  it('a refresh arms it again', async () => {
    await setThreshold(40);
    await holder.hold('used', 20);
    await holder.capture('used');
    await elapse(database.superuser, organization.organizationId, '31 days');
    await look();
    await holder.hold('again', 20);
    expect(await alerts()).toEqual([alert(40, 30), alert(40, 30)]);
  });
});

describe('setting it', () => {
  it('above the present balance tells at once, once', async () => {
    await setThreshold(60);
    await setThreshold(60);
    expect(await alerts()).toEqual([alert(60, 50)]);
    await setThreshold(70);
    expect(await alerts()).toEqual([alert(60, 50), alert(70, 50)]);
  });

  it('to null ends it, and nothing is low any more', async () => {
    await setThreshold(60);
    await setThreshold(null);
    await holder.hold('one', 50);
    expect(await alerts()).toEqual([alert(60, 50)]);
  });

  it('for one token type leaves the others alone', async () => {
    await setThreshold(1_000, 'goal_generation');
    await holder.hold('one', 50);
    expect(await alerts()).toEqual([expect.objectContaining({ tokenType: 'goal_generation', threshold: 1_000 })]);
  });

  it.each([0, -1, '9007199254740992'])('to %s is refused', async (threshold) => {
    await expect(setThreshold(threshold as number)).rejects.toThrow('a threshold lies between');
  });

  it('for an unknown organization or token type is refused by name', async () => {
    await expect(owner.query(`select tollgate.set_low_balance('nobody', 'lead_generation', 1)`)).rejects.toThrow(
      'unknown organization "nobody"',
    );
    await expect(setThreshold(1, 'gold')).rejects.toThrow('unknown token type "gold"');
  });
});
