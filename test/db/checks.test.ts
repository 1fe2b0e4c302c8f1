import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdTokens } from '../../db/holds.ts';
import { type CheckRequest, checkTokens } from '../../db/tokens.ts';
import { FEATURES } from '../../domain/catalog.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let ours: TestOrganization;
let theirs: TestOrganization;
beforeAll(async () => {
  database = await freshDatabase();
  ours = await createOrganization(database.superuser, 'pro', 'ours');
  theirs = await createOrganization(database.superuser, 'starter', 'theirs');
});
afterAll(() => database.drop());

const of = ({ organizationId, principal }: TestOrganization, feature: string): CheckRequest => ({
  organizationId,
  principal,
  feature,
});

describe('checks in one statement', () => {
  it('I9: each row is answered for its own organization, and by its own reason', async () => {
    await holderOf(database.api, ours).hold('most', 19, { feature: 'generate_goal' });
    await database.superuser.query(`
      insert into user_profiles (id, organization_id) values ('ann', 'ours'), ('bob', 'theirs');
      insert into tollgate.api_keys (id, organization_id, name, key_hash, scopes, revoked_at)
      values ('over', 'ours', 'k', sha256('over'), '{tokens:read}', clock_timestamp())`);
    const rows = [
      of(ours, 'generate_leads'),
      of({ ...ours, organizationId: 'theirs' }, 'generate_leads'),
      of(ours, 'generate_goal'),
      of(theirs, 'generate_goal'),
      of(ours, 'no_such_feature'),
      of({ ...ours, principal: theirs.principal }, 'generate_leads'),
      of({ ...ours, principal: 'user:ann' }, 'generate_leads'),
      of({ ...ours, principal: 'key:over' }, 'generate_leads'),
      of({ ...ours, organizationId: 'none' }, 'generate_leads'),
      of({ ...ours, organizationId: 'ours,theirs' }, 'generate_leads'),
      of({ ...theirs, principal: 'user:bob' }, 'generate_goal'),
    ];
    const answers = await checkTokens(database.api, rows);
    // The short way of a check alone says nothing else.
    for (const [n, row] of rows.entries()) expect(await checkTokens(database.api, [row])).toEqual([answers[n]]);
    expect(answers.map(({ outcome, tokenType, available }) => [outcome, tokenType, available])).toEqual([
      ['sufficient', 'lead_generation', 50],
      ['not_a_member', null, null],
      ['tokens_insufficient', 'goal_generation', 1],
      ['feature_not_available', 'goal_generation', null],
      ['feature_unknown', null, null],
      ['not_a_member', null, null],
      ['sufficient', 'lead_generation', 50],
      ['not_a_member', null, null],
      ['not_a_member', null, null],
      ['not_a_member', null, null],
      ['feature_not_available', 'goal_generation', null],
    ]);
    expect(await checkTokens(database.api, [])).toEqual([]);
  });

  it('whoever has exactly enough has enough, alone and among others', async () => {
    const organization = await createOrganization(database.superuser, 'pro', 'exactly');
    await database.superuser.query(`insert into user_profiles (id, organization_id) values ('eve', 'exactly')`);
    await holderOf(database.api, organization).hold('most', 45);
    const rows = [organization, { ...organization, principal: 'user:eve' }].map((who) => of(who, 'generate_leads'));
    const enough = expect.objectContaining({ outcome: 'sufficient', available: 5, tokens: 5 });
    expect(await checkTokens(database.api, rows)).toEqual([enough, enough]);
    for (const row of rows) expect(await checkTokens(database.api, [row])).toEqual([enough]);
  });

  it('I8: each is exact by time, and says what a hold would find', async () => {
    const organizations = [];
    // Lapsed holds, expired grants, ended periods; some of each, and none.
    for (const [n, elapsed] of ['1 second', '2 minutes', '2 days', '40 days', '70 days'].entries()) {
      const organization = await createOrganization(database.superuser, 'pro', `time-${n}`);
      await addGrant(database.superuser, organization.organizationId, { amount: 7, expiresIn: '1 day' });
      await holderOf(database.api, organization).hold('open', 11);
      await database.superuser.query('insert into user_profiles (id, organization_id) values ($1, $2)', [
        `${organization.organizationId}-ann`,
        organization.organizationId,
      ]);
      await elapse(database.superuser, organization.organizationId, elapsed);
      organizations.push(organization);
    }
    const rows = organizations.flatMap((organization) => FEATURES.map((feature) => of(organization, feature)));
    const together = await checkTokens(database.api, rows);
    const alone = [];
    for (const row of rows) alone.push(...(await checkTokens(database.api, [row])));
    expect(together).toEqual(alone);
    // A signed-in member alone has a short way of his own.
    const asMember = [];
    for (const row of rows) {
      const principal = `user:${row.organizationId}-ann`;
      asMember.push(...(await checkTokens(database.api, [{ ...row, principal }])));
    }
    expect(asMember).toEqual(together);
    expect(together.filter((_, n) => rows[n]!.feature === 'generate_leads').map(({ available }) => available)).toEqual([
      ...[46, 57, 50, 50, 50],
    ]);

    // A hold of more than there is moves nothing, and settles first.
    const refused = await holdTokens(
      database.api,
      rows.map((row, n) => ({
        ...row,
        holdId: `h-${n}`,
        feature: row.feature as never,
        amount: 10_000,
        lifetimeMs: 1,
      })),
    );
    expect(refused.map(({ available }) => available)).toEqual(
      together.map(({ outcome, available }) => (outcome === 'feature_not_available' ? expect.any(Number) : available)),
    );
    expect(await checkTokens(database.api, rows)).toEqual(together);
  });
});
