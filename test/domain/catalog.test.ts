import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { assertCatalogue, catalogueContent, catalogueDigest } from '../../db/catalogue.ts';
import {
  FEATURE_TOKEN_TYPES,
  FEATURES,
  isFeature,
  PLANS,
  TOKEN_COSTS,
  TOKEN_LIMITS,
  TOKEN_TYPES,
} from '../../domain/catalog.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(() => database.drop());

describe('the catalogue', () => {
  it('costs what it says', () => {
    expect(FEATURES.map((feature) => [feature, TOKEN_COSTS[feature], FEATURE_TOKEN_TYPES[feature]])).toEqual([
      ['generate_leads', 5, 'lead_generation'],
      ['generate_goal', 3, 'goal_generation'],
      ['analyze_strategy', 2, 'strategy_analysis'],
      ['forecast_revenue', 4, 'forecast'],
      ['generate_insight', 1, 'general'],
    ]);
  });

  it('brings each month what it says', () => {
    expect(PLANS.map((plan) => [plan, ...TOKEN_TYPES.map((tokenType) => TOKEN_LIMITS[plan][tokenType])])).toEqual([
      // lead_generation, goal_generation, strategy_analysis, forecast, general
      ['starter', 0, 0, 0, 0, 0],
      ['pro', 50, 20, 100, 30, 50],
      ['enterprise', 500, 200, 1000, 200, 500],
    ]);
  });

  it('knows its features, and nothing that every object has', () => {
    for (const feature of FEATURES) expect(isFeature(feature)).toBe(true);
    for (const word of ['', 'GENERATE_LEADS', 'toString', '__proto__', 'constructor'])
      expect(isFeature(word)).toBe(false);
  });
});

describe('the catalogue in the database', () => {
  it('is the one of domain/catalog.ts, row for row', async () => {
    const features = await database.superuser.query(
      `select f.feature, f.token_type as "tokenType", f.tokens from tollgate.current_features f order by f.feature`,
    );
    const allowances = await database.superuser.query(
      `select a.plan, a.token_type as "tokenType", a.tokens from tollgate.current_allowances a order by a.plan, a.token_type`,
    );
    const content = catalogueContent();
    const byText = (a: object, b: object) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1);
    expect(features.rows.toSorted(byText)).toEqual(content.features.toSorted(byText));
    expect(allowances.rows.toSorted(byText)).toEqual(content.allowances.toSorted(byText));
  });

  it('lets api and worker start', async () => {
    await assertCatalogue(database.api);
    await assertCatalogue(database.worker);
  });

  it('is not written again when it is the same', async () => {
    const apply = (digest: string) =>
      database.superuser.query('select tollgate.apply_catalogue($1, $2) as version', [digest, catalogueContent()]);
    expect((await apply(catalogueDigest())).rows).toEqual([{ version: 1 }]);
    expect((await database.superuser.query('select count(*) from tollgate.catalogue_versions')).rows).toEqual([
      { count: 1 },
    ]);
  });

  it('T6: another one stops the start and says what to run; the earlier version stays on record', async () => {
    const { features, allowances } = catalogueContent();
    const dearer = { features: features.map((row) => ({ ...row, tokens: row.tokens + 1 })), allowances };
    await database.superuser.query('select tollgate.apply_catalogue($1, $2)', ['another', dearer]);
    await expect(assertCatalogue(database.api)).rejects.toThrow(
      /holds another catalogue than domain\/catalog\.ts\. Run `npm run migrate`/,
    );
    const { rows } = await database.superuser.query(
      `select f.version, f.tokens from tollgate.catalogue_features f where f.feature = 'generate_leads' order by 1`,
    );
    expect(rows).toEqual([
      { version: 1, tokens: 5 },
      { version: 2, tokens: 6 },
    ]);

    await database.superuser.query('select tollgate.apply_catalogue($1, $2)', [catalogueDigest(), catalogueContent()]);
    await assertCatalogue(database.api);
  });

  it('none at all stops the start, too', async () => {
    const empty = await freshDatabase();
    try {
      await empty.superuser.query('truncate tollgate.catalogue_versions cascade');
      await expect(assertCatalogue(empty.api)).rejects.toThrow(/has no catalogue\. Run `npm run migrate`/);
    } finally {
      await empty.drop();
    }
  });
});
