import { z } from 'zod';
import { FEATURES, TOKEN_COSTS, TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';

export const QUOTES_PATH = '/api/v1/quotes';

/**
 * What `POST /api/v1/quotes` asks: what a hold of so many tokens would answer now. `quantity`: that many times the feature's
 * price; neither: the price.
 */
export const quoteRequest = z
  .strictObject({
    feature: z.enum(FEATURES),
    tokens: z.int().positive().optional(),
    quantity: z.int().positive().optional(),
  })
  .refine(({ tokens, quantity }) => tokens === undefined || quantity === undefined, {
    path: ['quantity'],
    message: 'goes without tokens',
  })
  .refine(({ feature, quantity = 1 }) => Number.isSafeInteger(TOKEN_COSTS[feature] * quantity), {
    path: ['quantity'],
    message: 'is too large',
  })
  .meta({ id: 'QuoteRequest' });
export type QuoteRequest = z.infer<typeof quoteRequest>;

/**
 * What a hold would answer now, and from what. `outcome`: `held`, or the code of its refusal. `tokenType`: what it would be
 * paid with, by the plan perhaps another than the feature's own. `grants`: what it would burn, in order. Nothing was moved and
 * nothing reserved: the next call may find it otherwise.
 */
export const quote = z
  .strictObject({
    feature: z.enum(FEATURES),
    outcome: z.enum(['held', 'feature_not_available', 'too_many_holds', 'limit_reached', 'tokens_insufficient']),
    sufficient: z.boolean(),
    tokenType: z.enum(TOKEN_TYPES),
    tokens: z.int().positive(),
    available: z.int().nonnegative(),
    grants: z.array(
      z.strictObject({
        id: z.int(),
        source: z.string(),
        isPaid: z.boolean(),
        expiresAt: z.nullable(z.iso.datetime({ offset: false })),
        tokens: z.int().positive(),
      }),
    ),
    links: z.strictObject({ hold: z.string() }),
  })
  .meta({ id: 'Quote' });
export type Quote = z.infer<typeof quote>;

export const quoteHolds = operation({
  id: 'quoteHolds',
  method: 'post',
  path: QUOTES_PATH,
  tag: 'Holds',
  summary: 'What a hold would answer and burn, without placing it',
  access: { role: 'member', scopes: ['tokens:read'], operators: false },
  body: { schema: quoteRequest, rows: quoteRequest },
  answers: {
    200: { description: 'What would happen. Nothing is moved and nothing reserved.', schema: quote, rowSchema: quote },
  },
  problems: ['feature_unknown', 'organization_suspended'],
  examples: [
    { title: 'A feature at its price', body: { feature: 'generate_goal' }, status: 200 },
    {
      title: 'Two at once',
      body: [{ feature: 'generate_goal', quantity: 2 }, { feature: 'generate_insight' }],
      status: 200,
    },
  ],
});
