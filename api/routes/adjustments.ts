import { Hono } from 'hono';
import {
  adjustmentListQuery,
  adjustmentRequest,
  adjustBalance as adjustOperation,
  listAdjustments as listOperation,
  reverseAdjustment as reverseOperation,
  writeAdjustment,
} from '../../contract/adjustments.ts';
import { adjustBalance, listAdjustments, reverseAdjustment } from '../../db/adjustments.ts';
import { actOf } from '../actOf.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { pageOf, readCursor, refuseCursor, writeCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { idempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiEnv } from '../requestContext.ts';

/** What operators give and take by hand; the organization's admins see it. */
export function adjustmentRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, adjustOperation, idempotencyKey, jsonBody, async (c) => {
    const organizationId = c.get('organizationId');
    const parsed = adjustmentRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const { tokenType, amount, reason } = parsed.data;
    const key = c.get('idempotencyKey')!;
    const adjusted = await adjustBalance(pool, {
      ...actOf(c),
      ...{ organizationId, tokenType, amount, why: reason, key },
    });
    switch (adjusted.outcome) {
      case 'adjusted': {
        const { isRepeat, adjustmentId: id, available, createdAt } = adjusted;
        if (isRepeat) c.header('Idempotent-Replayed', 'true');
        const made = { id, tokenType, amount, reason, actor: 'operator', reverses: null, createdAt };
        return c.json({ ...writeAdjustment(organizationId, made), available }, 201);
      }
      case 'tokens_insufficient': {
        const { available } = adjusted;
        return problemReply(c, 'tokens_insufficient', { required: -amount, available, tokenType });
      }
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
      case 'token_type_unknown':
        return problemReply(c, 'invalid_request', {
          errors: [{ path: 'tokenType', message: 'The catalogue in force has no such token type.' }],
        });
      case 'amount_invalid':
        return problemReply(c, 'balance_too_large');
      case 'key_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'reason_missing':
        throw new Error('adjust_balance refused a reason that was checked');
    }
  });

  mount(routes, authentication, reverseOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const id = c.req.param('adjustmentId')!;
    if (!NUMBER_PATTERN.test(id)) return problemReply(c, 'adjustment_not_found');
    const { reason, ...act } = actOf(c);
    const reversed = await reverseAdjustment(pool, { ...act, reason, organizationId, adjustmentId: Number(id) });
    switch (reversed.outcome) {
      case 'reversed':
        if (reversed.isRepeat) c.header('Idempotent-Replayed', 'true');
        return c.json(writeAdjustment(organizationId, reversed.reversal), 201);
      case 'tokens_insufficient': {
        const { available, reversal: undone } = reversed;
        return problemReply(c, 'tokens_insufficient', {
          ...{ required: undone.amount, available, tokenType: undone.tokenType },
        });
      }
      case 'not_an_operator':
        return problemReply(c, 'unauthorized');
      case 'organization_unknown':
        return problemReply(c, 'organization_not_found');
      case 'adjustment_unknown':
        return problemReply(c, 'adjustment_not_found');
      case 'reason_missing':
        throw new Error('reverse_adjustment refused a reason that was checked');
    }
  });

  mount(routes, authentication, listOperation, async (c) => {
    const organizationId = c.get('organizationId');
    const query = adjustmentListQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { limit, cursor } = query.data;
    const list = [organizationId, 'adjustments'];
    const [last = ''] = cursor === undefined ? [] : (readCursor(list, cursor, 1) ?? []);
    if (cursor !== undefined && !NUMBER_PATTERN.test(last)) return refuseCursor(c);

    const before = last === '' ? null : Number(last);
    const found = await listAdjustments(pool, organizationId, { before, limit: limit + 1 });
    const { page, nextCursor } = pageOf(found, limit, ({ id }) => writeCursor(list, [`${id}`]));
    return c.json({
      adjustments: page.map(({ reversedBy, ...made }) => ({ ...writeAdjustment(organizationId, made), reversedBy })),
      nextCursor,
    });
  });

  return routes;
}

const NUMBER_PATTERN = /^[1-9]\d{0,14}$/;
