import { z } from 'zod';
import { TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';

export const CHARGES_PATH = '/api/v1/charges';

/**
 * What `POST /api/v1/charges/{id}/refund` asks for: so many tokens back, all that is left of the charge when left out, and why.
 */
export const refundRequest = z
  .strictObject({
    tokens: z.int().positive().optional(),
    reason: z
      .string()
      .max(500)
      .regex(/[\p{L}\p{N}]/u, 'must say why'),
  })
  .meta({ id: 'RefundRequest' });
export type RefundRequest = z.infer<typeof refundRequest>;

/** `refunded`: what this one gave back; `refundedInAll`: what all have, of `charged`. `available`: with it back. */
export const refundedCharge = z
  .strictObject({
    chargeId: z.string(),
    tokenType: z.enum(TOKEN_TYPES),
    refunded: z.int().positive(),
    refundedInAll: z.int().positive(),
    charged: z.int().positive(),
    available: z.int().nonnegative(),
    links: z.strictObject({ hold: z.string() }),
  })
  .meta({ id: 'RefundedCharge' });
export type RefundedCharge = z.infer<typeof refundedCharge>;

export const refundCharge = operation({
  id: 'refundCharge',
  method: 'post',
  path: `${CHARGES_PATH}/{chargeId}/refund`,
  tag: 'Holds',
  summary: 'Give back a charge, or part of it, to the grants that it burnt',
  access: { role: 'admin', scopes: ['tokens:write'], operators: false },
  idempotencyKey: 'required',
  body: { schema: refundRequest },
  answers: { 200: { description: 'Given back.', schema: refundedCharge, headers: ['Idempotent-Replayed'] } },
  problems: ['charge_not_found', 'amount_above_charge'],
  examples: [
    {
      title: 'One token of a charge',
      params: { chargeId: 'key_3bWkUc.1' },
      body: { tokens: 1, reason: 'The answer was cut off.' },
      status: 200,
    },
  ],
});
