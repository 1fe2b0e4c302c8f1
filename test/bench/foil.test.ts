import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openFoil } from '../../bench/foil.ts';
import { brokenFoilChecks, createFoilTables } from '../../bench/foilTables.ts';
import { CHARGE, HOLD, type Side } from '../../bench/side.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization } from '../support/organization.ts';

let database: TestDatabase;
let foil: Side;
let organizationId: string;
/** What the plan brings: holds that add up to it straddle nothing, one more is too many. */
let granted: number;

beforeAll(async () => {
  database = await freshDatabase();
  ({ organizationId } = await createOrganization(database.superuser, 'enterprise'));
  await createFoilTables(database.superuser);
  foil = openFoil(database.ownerUrl, 8);
  granted = (await balance()).available;
});
afterAll(async () => {
  await foil?.close();
  await database?.drop();
});

async function balance(): Promise<{ available: number; held: number }> {
  const { rows } = await database.superuser.query(
    'select available, held from foil.balances where organization_id = $1 and token_type = $2',
    [organizationId, HOLD.tokenType],
  );
  return rows[0];
}

describe('the foil of the benchmarks', () => {
  test('keeps its books under concurrent callers, so that it is no faster than a ledger can be', async () => {
    const holdIds = await Promise.all(Array.from({ length: 20 }, () => foil.hold(organizationId)));
    await Promise.all(holdIds.slice(0, 15).map((holdId) => foil.capture(organizationId, holdId)));

    expect(await brokenFoilChecks(database.superuser)).toEqual([]);
    expect(await balance()).toEqual({ available: granted - 15 * CHARGE - 5 * HOLD.amount, held: 5 * HOLD.amount });
  });

  test('refuses what the balance does not cover', async () => {
    await expect(foil.hold(organizationId, granted)).rejects.toThrow('the foil has no');
    expect(await brokenFoilChecks(database.superuser)).toEqual([]);
  });

  test.each([
    ['a balance is what its grants have left', 'update foil.grants set remaining = remaining - 1'],
    ['held is what the open holds come to', 'update foil.balances set held = held + 1'],
    ['a hold took what it holds', 'delete from foil.allocations'],
    ['entries are numbered without gaps and end at the balance', 'delete from foil.entries where entry_number = 2'],
    ['entries are numbered without gaps and end at the balance', 'update foil.entries set available_after = 1'],
    ['what was charged was used and logged', 'update foil.usage_log set tokens_deducted = tokens_deducted + 1'],
  ])('is caught when it breaks its books: %s: %s', async (sentence, breaking) => {
    const client = await database.superuser.connect();
    try {
      await client.query('begin');
      await client.query(breaking);
      expect((await brokenFoilChecks(client)).join('\n')).toContain(sentence);
    } finally {
      await client.query('rollback');
      client.release();
    }
  });
});
