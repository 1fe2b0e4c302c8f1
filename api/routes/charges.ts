import { Hono } from 'hono';
import {
  CHARGES_PATH,
  type RefundedCharge,
  refundCharge as refundOperation,
  refundRequest,
} from '../../contract/charges.ts';
import { HOLDS_PATH } from '../../contract/holds.ts';
import { refundCharge } from '../../db/holds.ts';
import { CHARGE_ID_PATTERN } from '../../domain/ids.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { idempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';
import { requestHash } from '../requestHash.ts';

/**
 * What was charged, and is given back, to the grants that it came from: by a key that may charge, as the app's own server has it, and by
 * admins. Not by members, who would have work delivered for nothing. Who did, and why, is kept.
 */
export function chargeRoutes(authentication: Authentication) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, refundOperation, idempotencyKey, jsonBody, async (c) => {
    const chargeId = c.req.param('chargeId')!;
    const body = c.get('body');
    const parsed = refundRequest.safeParse(body);
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    if (!CHARGE_ID_PATTERN.test(chargeId)) return problemReply(c, 'charge_not_found');

    const refund = await refundCharge(pool, {
      organizationId: c.get('organizationId'),
      principal: principalOf(c.get('caller')),
      chargeId,
      amount: parsed.data.tokens ?? null,
      reason: parsed.data.reason,
      idempotency: {
        key: c.get('idempotencyKey')!,
        requestHash: requestHash(`POST ${CHARGES_PATH}/${chargeId}/refund`, body),
      },
    });
    switch (refund.outcome) {
      case 'refunded': {
        const { isRepeat, tokenType, refunded, refundedInAll, charged, available } = refund;
        if (isRepeat) c.header('Idempotent-Replayed', 'true');
        const hold = `${HOLDS_PATH}/${encodeURIComponent(chargeId.slice(0, chargeId.lastIndexOf('.')))}`;
        return c.json({
          chargeId,
          tokenType: tokenType!,
          refunded: refunded!,
          refundedInAll: refundedInAll!,
          charged: charged!,
          available: available!,
          links: { hold },
        } satisfies RefundedCharge);
      }
      case 'not_a_member':
        return problemReply(c, 'not_your_organization');
      case 'not_an_admin':
        return problemReply(c, 'admins_only');
      case 'key_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'charge_unknown':
        return problemReply(c, 'charge_not_found');
      case 'amount_above_charge':
        return problemReply(c, 'amount_above_charge');
      case 'amount_invalid':
        throw new Error('refund_charge refused an amount that was checked');
    }
  });

  return routes;
}
