import { z } from 'zod';
import { TOKEN_TYPES } from '../domain/catalog.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { operation } from './operation.ts';

export const TOKENS_PATH = '/api/v1/tokens';

const organizationId = z.string().regex(ID_PATTERN, 'must be an id: 1 to 64 letters, digits, _ or -');

/**
 * What `POST /api/v1/tokens/check-balance` asks for. A name that is no feature is no error of form: it is answered with
 * `hasTokens` or `success` false and a message, as callers of this interface know it.
 */
export const tokenRequest = z
  .strictObject({
    organizationId,
    featureUsed: z.string().min(1).max(100),
    action: z.enum(['check', 'deduct']),
    /** Kept with the usage log's row of a deduction. */
    metadata: z.record(z.string(), z.json()).optional(),
  })
  .meta({ id: 'TokenRequest' });
export type TokenRequest = z.infer<typeof tokenRequest>;

/** Answer to a check. `message` is there when the answer is no. */
export const tokenCheck = z
  .strictObject({ hasTokens: z.boolean(), message: z.string().optional() })
  .meta({ id: 'TokenCheck' });
export type TokenCheck = z.infer<typeof tokenCheck>;

/** Answer to a deduction, made or not. `remainingBalance` is of the feature's token type, 0 when there is no such feature. */
export const tokenDeduction = z
  .strictObject({
    success: z.boolean(),
    remainingBalance: z.int().nonnegative(),
    message: z.string(),
  })
  .meta({ id: 'TokenDeduction' });
export type TokenDeduction = z.infer<typeof tokenDeduction>;

export const tokenStatsQuery = z.strictObject({ organizationId });

const instant = z.iso.datetime({ offset: false });
const tokenAmount = z.int().nonnegative();

/**
 * Answer to `GET /api/v1/tokens/stats`. Amounts are whole tokens; `used`, `allocated` and `percentUsed` are those of the
 * period that runs until `refreshDate`. The outer `refreshDate` is the next one of any token type.
 */
export const tokenStats = z
  .strictObject({
    totalBalance: tokenAmount,
    totalUsed: tokenAmount,
    totalAllocated: tokenAmount,
    byType: z.array(
      z.strictObject({
        tokenType: z.enum(TOKEN_TYPES),
        balance: tokenAmount,
        held: tokenAmount,
        used: tokenAmount,
        allocated: tokenAmount,
        /** Whole percent of `allocated`; more than 100 where bought tokens are used too, 0 where nothing is allocated. */
        percentUsed: tokenAmount,
        refreshDate: instant,
      }),
    ),
    refreshDate: z.nullable(instant),
  })
  .meta({ id: 'TokenStats' });
export type TokenStats = z.infer<typeof tokenStats>;

export const checkBalance = operation({
  id: 'checkBalance',
  method: 'post',
  path: `${TOKENS_PATH}/check-balance`,
  tag: 'Tokens',
  summary: 'Check whether a feature can be paid, or pay it in one step',
  description:
    'A key needs `tokens:read` to check and `tokens:write` to deduct. Out of tokens is no error here: it is answered with `hasTokens` or `success` false, and a message.',
  access: { role: 'member', scopes: ['tokens:read', 'tokens:write'], operators: false },
  organizationIn: 'body',
  idempotencyKey: 'optional',
  body: { schema: tokenRequest },
  answers: {
    200: {
      description: 'What was asked for, or why not.',
      schema: z.union([tokenCheck, tokenDeduction]),
      headers: ['Idempotent-Replayed'],
    },
  },
  problems: ['feature_not_available', 'limit_reached', 'organization_suspended', 'ledger_busy'],
  examples: [
    {
      title: 'Check',
      body: { organizationId: 'org_acme', featureUsed: 'generate_goal', action: 'check' },
      status: 200,
      answer: { hasTokens: true },
    },
    {
      title: 'Deduct',
      body: {
        organizationId: 'org_acme',
        featureUsed: 'generate_goal',
        action: 'deduct',
        metadata: { source: 'onboarding' },
      },
      status: 200,
      answer: { success: true, remainingBalance: 17, message: 'Deducted 3 goal_generation tokens. 17 are left.' },
    },
  ],
});

export const getTokenStats = operation({
  id: 'getTokenStats',
  method: 'get',
  path: `${TOKENS_PATH}/stats`,
  tag: 'Tokens',
  summary: 'Totals, and every token type with what is used, held and left',
  access: { role: 'member', scopes: ['tokens:read'], operators: false },
  organizationIn: 'query',
  query: tokenStatsQuery,
  answers: { 200: { description: 'The period that runs.', schema: tokenStats } },
  problems: [],
  examples: [{ title: 'Of an organization', query: { organizationId: 'org_acme' }, status: 200 }],
});
