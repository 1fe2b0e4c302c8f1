import { z } from 'zod';
import { TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';
import { ORGANIZATION_PATH, ORGANIZATIONS_PATH } from './organizations.ts';
import { pageQuery } from './page.ts';

const LARGEST = 1_000_000_000_000_000;

/** So many tokens given, or taken: a negative amount. `reason` is told to the organization; Tollgate-Reason is the audit log's. */
export const adjustmentRequest = z
  .strictObject({
    tokenType: z.enum(TOKEN_TYPES),
    amount: z
      .int()
      .min(-LARGEST)
      .max(LARGEST)
      .refine((amount) => amount !== 0, 'must not be 0'),
    reason: z
      .string()
      .max(500)
      .regex(/[\p{L}\p{N}]/u, 'must say why'),
  })
  .meta({ id: 'AdjustmentRequest' });
export type AdjustmentRequest = z.infer<typeof adjustmentRequest>;

/** `reverses`: the adjustment that it undoes. `actor`: `operator`, or whoever did it by SQL. */
export const adjustment = z
  .strictObject({
    id: z.int().positive(),
    organizationId: z.string(),
    tokenType: z.string(),
    amount: z.int(),
    reason: z.string(),
    actor: z.string(),
    reverses: z.nullable(z.int()),
    createdAt: z.iso.datetime({ offset: false }),
    links: z.strictObject({ reverse: z.string() }),
  })
  .meta({ id: 'Adjustment' });
export type Adjustment = z.infer<typeof adjustment>;

/** `available`: with it, at that moment. */
export const madeAdjustment = adjustment.extend({ available: z.int().nonnegative() }).meta({ id: 'MadeAdjustment' });
export type MadeAdjustment = z.infer<typeof madeAdjustment>;

/** Newest first. `reversedBy`: the adjustment that undid it. `nextCursor` is null on the last page. */
export const adjustmentList = z
  .strictObject({
    adjustments: z.array(adjustment.extend({ reversedBy: z.nullable(z.int()) })),
    nextCursor: z.nullable(z.string()),
  })
  .meta({ id: 'AdjustmentList' });
export type AdjustmentList = z.infer<typeof adjustmentList>;

export const adjustmentListQuery = z.strictObject(pageQuery({ most: 100, usual: 20 }));

export function writeAdjustment(
  organizationId: string,
  present: Omit<Adjustment, 'organizationId' | 'createdAt' | 'links'> & { createdAt: Date },
): Adjustment {
  const { id, tokenType, amount, reason, actor, reverses, createdAt } = present;
  return {
    ...{ id, organizationId, tokenType, amount, reason, actor, reverses },
    createdAt: createdAt.toISOString(),
    links: { reverse: `${ORGANIZATIONS_PATH}/${organizationId}/adjustments/${id}/reverse` },
  };
}

const tag = 'Adjustments';
const ADJUSTMENTS_PATH = `${ORGANIZATION_PATH}/adjustments`;

export const adjustBalance = operation({
  id: 'adjustBalance',
  method: 'post',
  path: ADJUSTMENTS_PATH,
  tag,
  summary: 'Give tokens, or take them, by hand',
  description: 'What is given does not expire. Adjustments are never edited: reverse one that was wrong.',
  access: 'operators',
  idempotencyKey: 'required',
  body: { schema: adjustmentRequest },
  answers: { 201: { description: 'Booked.', schema: madeAdjustment, headers: ['Idempotent-Replayed'] } },
  problems: ['tokens_insufficient', 'balance_too_large'],
  examples: [
    {
      title: 'Goodwill',
      params: { organizationId: 'acme' },
      body: { tokenType: 'goal_generation', amount: 10, reason: 'Goodwill for the outage of Monday' },
      status: 201,
    },
  ],
});

export const reverseAdjustment = operation({
  id: 'reverseAdjustment',
  method: 'post',
  path: `${ADJUSTMENTS_PATH}/{adjustmentId}/reverse`,
  tag,
  summary: 'Undo an adjustment by the opposite one',
  description:
    'Each is undone once: a repeat is answered with the reversal that there is. Tollgate-Reason is told to the organization.',
  access: 'operators',
  answers: { 201: { description: 'Booked: the reversal.', schema: adjustment, headers: ['Idempotent-Replayed'] } },
  problems: ['adjustment_not_found', 'tokens_insufficient'],
  examples: [{ title: 'Reverse', params: { organizationId: 'acme', adjustmentId: '12' }, status: 201 }],
});

export const listAdjustments = operation({
  id: 'listAdjustments',
  method: 'get',
  path: ADJUSTMENTS_PATH,
  tag,
  summary: 'What was given or taken by hand, newest first',
  access: { role: 'admin', scopes: ['organization:read'], operators: true },
  query: adjustmentListQuery,
  answers: { 200: { description: 'A page.', schema: adjustmentList } },
  problems: [],
  examples: [{ title: 'The last ten', params: { organizationId: 'acme' }, query: { limit: '10' }, status: 200 }],
});
