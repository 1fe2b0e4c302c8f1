import { afterAll, beforeAll, expect, test } from 'vitest';
import { mount } from '../../api/mount.ts';
import { problemReply } from '../../api/problemReply.ts';
import { createSessions } from '../../api/sessions.ts';
import { getBalances } from '../../contract/balances.ts';
import { getHold, listHolds, releaseHold } from '../../contract/holds.ts';
import { OPERATIONS } from '../../contract/operations.ts';
import { startTestApi } from '../api/testApi.ts';
import { startWorld, type World } from '../api/world.ts';
import { expectInvariants } from '../support/invariants.ts';
import { runMatrix } from './tenantMatrix.ts';

let world: World;
beforeAll(async () => {
  world = await startWorld();
});
afterAll(() => world.close());

test('S2: whoever asks for whatever, with an id of another organization in whatever place, learns and moves nothing', async () => {
  const matrix = await runMatrix(world, world.api, OPERATIONS);
  const { routes, roles, positions, requests, leaks, withoutCursor } = matrix;
  console.log(
    `${routes} routes × ${roles} roles × ${positions} positions = ${requests} requests, ${leaks.length} leaks`,
  );
  if (withoutCursor.length > 0) console.log(`No cursor to try: ${withoutCursor.join(', ')}`);
  expect(matrix).toMatchObject({ wrongStatuses: [], leaks: [], effects: [] });
  await expectInvariants(world.database.superuser);
}, 120_000);

test('the matrix catches handlers that forget whose they are, in answers, effects and rights', async () => {
  const { superuser } = world.database;
  const planted = await startTestApi(world.database, {
    sessions: createSessions({ SUPABASE_URL: world.signIn.url }),
    plant: (routes, authentication) => {
      mount(routes, authentication, getHold, async (c) => {
        const { rows } = await superuser.query('select h.* from tollgate.holds h where h.id = $1', [
          c.req.param('holdId'),
        ]);
        return c.json(rows[0] ?? {});
      });
      mount(routes, authentication, releaseHold, async (c) => {
        await superuser.query(`update tollgate.holds set expires_at = expires_at + interval '1 second' where id = $1`, [
          c.req.param('holdId'),
        ]);
        return problemReply(c, 'hold_not_found');
      });
      mount(routes, authentication, listHolds, async (c) => {
        const organizationId = c.req.header('x-organization-id') ?? c.get('organizationId');
        const { rows } = await superuser.query('select h.id from tollgate.holds h where h.organization_id = $1', [
          organizationId,
        ]);
        return c.json({ holds: rows, nextCursor: null });
      });
      const tooOpen = { ...getBalances, access: { role: 'member', scopes: ['jobs:read'], operators: false } } as const;
      mount(routes, authentication, tooOpen, (c) => c.json({ balances: [] }));
    },
  });
  const matrix = await runMatrix(world, planted, [getHold, releaseHold, listHolds, getBalances]);
  await planted.close();
  expect(matrix.effects).toEqual(['tollgate.holds']);
  const leaking = (what: string) => matrix.leaks.some((leak) => leak.startsWith(what));
  expect(leaking('getHold by member, foreign: parameter:holdId')).toBe(true);
  expect(leaking('listHolds by key, foreign: header')).toBe(true);
  expect(leaking('getBalances')).toBe(false);
  const isWrong = (what: string) => matrix.wrongStatuses.some((status) => status.startsWith(what));
  expect(isWrong('getHold by admin, foreign: parameter:holdId: 200')).toBe(true);
  expect(isWrong('listHolds by key, foreign: cursor: 200')).toBe(true);
  expect(isWrong('getBalances by lesser key, foreign: nowhere: 200')).toBe(true);
}, 60_000);
