import { createHash } from 'node:crypto';
import { Hono } from 'hono';
import {
  getHold,
  type HoldList,
  type HoldRequest,
  holdListQuery,
  holdRequest,
  holdRow,
  listHolds as listHoldsOperation,
  type PlacedHold,
  placeHold,
} from '../../contract/holds.ts';
import type { Coalescer } from '../../db/coalescer.ts';
import { findHold, listHolds } from '../../db/holdReads.ts';
import { TOKEN_COSTS } from '../../domain/catalog.ts';
import { HOLD_ID_PATTERN } from '../../domain/ids.ts';
import { type Answer, replyWith } from '../answer.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { placementAnswer, writeHold } from '../holdAnswers.ts';
import { readHoldCursor, writeHoldCursor } from '../holdCursor.ts';
import { refuseCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { optionalIdempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonRows } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import { refusedRequest } from '../refusedRequest.ts';
import { replyWithRows } from '../replyWithRows.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';
import type { RowQueue } from '../rowQueue.ts';

/**
 * The hold lane: set tokens aside, do the work, capture what it used or release. A hold that is forgotten lapses. What is
 * done with a hold once it is there: holdSteps.ts.
 */
export function holdRoutes(authentication: Authentication, ledger: Coalescer, sendRows: RowQueue) {
  const { pool, log } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, placeHold, optionalIdempotencyKey, jsonRows, async (c) => {
    const body = c.get('body');
    const key = c.get('idempotencyKey');
    if (Array.isArray(body)) {
      // One key for all rows would say that the array is done whole or not at all. It is not.
      if (key !== null) return problemReply(c, 'idempotency_key_not_taken');
      return replyWithRows(c, {
        schema: holdRow,
        namedBy: 'key',
        send: (rows) => sendRows(c.get('organizationId'), rows, (row) => placeRow(c, row)),
        log,
      });
    }
    if (key === null) return problemReply(c, 'idempotency_key_missing');
    const parsed = holdRequest.safeParse(body);
    if (!parsed.success) return replyWith(c, refusedRequest(body, parsed.error));
    return replyWith(c, await place(c, key, parsed.data), 201);
  });

  mount(routes, authentication, listHoldsOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const query = holdListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor, state, feature } = query.data;
    const list = [organizationId, state, feature];
    const after = cursor === undefined ? null : readHoldCursor(list, cursor);
    if (cursor !== undefined && after === null) return refuseCursor(c);
    const page = await listHolds(pool, organizationId, {
      limit,
      after,
      ...(state === undefined ? {} : { state }),
      ...(feature === undefined ? {} : { feature }),
    });
    const nextCursor = page.after === null ? null : writeHoldCursor(list, page.after);
    return c.json({ holds: page.holds.map(writeHold), nextCursor } satisfies HoldList);
  });

  mount(routes, authentication, getHold, async (c) => {
    const id = c.req.param('holdId')!;
    const found = HOLD_ID_PATTERN.test(id) ? await findHold(pool, c.get('organizationId'), id) : null;
    return found === null ? problemReply(c, 'hold_not_found') : c.json(writeHold(found));
  });

  async function place(c: ApiContext, key: string, request: HoldRequest): Promise<Answer<PlacedHold>> {
    const { feature, tokens = TOKEN_COSTS[feature], lifetimeSeconds } = request;
    const id = holdIdOf(key);
    const placed = await ledger.hold({
      organizationId: c.get('organizationId'),
      principal: principalOf(c.get('caller')),
      holdId: id,
      feature,
      amount: tokens,
      lifetimeMs: lifetimeSeconds * 1_000,
    });
    return placementAnswer({ id, feature, tokens }, placed);
  }

  async function placeRow(c: ApiContext, { key, ...request }: HoldRequest & { key: string }) {
    const answer = await place(c, key, request);
    return 'code' in answer ? answer : { ...answer, body: { key, ...answer.body } };
  }

  return routes;
}

/** The hold's id is what makes a repeat a repeat, so it follows from the key; a key may hold more than an id can. */
function holdIdOf(key: string): string {
  return `key_${createHash('sha256').update(key).digest('base64url')}`;
}
