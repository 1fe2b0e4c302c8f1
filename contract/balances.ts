import { z } from 'zod';
import { askedInstant } from './askedInstant.ts';
import { operation } from './operation.ts';

export const BALANCES_PATH = '/api/v1/balances';

const tokenAmount = z.int().nonnegative();
const instant = z.iso.datetime({ offset: false });

/** `at`: what the balances were then, ISO 8601 UTC; an instant ahead is refused. */
export const balanceQuery = z.strictObject({
  at: askedInstant.optional(),
});

/** Tokens with a source that are neither used, held nor gone. */
export const liveGrant = z
  .strictObject({
    id: z.int(),
    source: z.string(),
    priority: z.int(),
    isPaid: z.boolean(),
    amount: tokenAmount,
    remaining: tokenAmount,
    expiresAt: z.nullable(instant),
    createdAt: instant,
  })
  .meta({ id: 'LiveGrant' });

/**
 * Answer without `at`. Amounts are whole tokens; `used` and `allocated` are those of the period that runs until
 * `refreshDate`. `grants` stand in the order in which they are used up; what remains of them adds up to `available`.
 */
export const balanceList = z
  .strictObject({
    balances: z.array(
      z.strictObject({
        tokenType: z.string(),
        available: tokenAmount,
        held: tokenAmount,
        owed: tokenAmount,
        allocated: tokenAmount,
        used: z.int(),
        refreshDate: instant,
        grants: z.array(liveGrant),
      }),
    ),
  })
  .meta({ id: 'BalanceList' });
export type BalanceList = z.infer<typeof balanceList>;

/** Answer with `at`: what the ledger says was so then. Zeros before the first entry. */
export const pastBalanceList = z
  .strictObject({
    at: instant,
    balances: z.array(
      z.strictObject({ tokenType: z.string(), available: tokenAmount, held: tokenAmount, owed: tokenAmount }),
    ),
  })
  .meta({ id: 'PastBalanceList' });
export type PastBalanceList = z.infer<typeof pastBalanceList>;

export const getBalances = operation({
  id: 'getBalances',
  method: 'get',
  path: BALANCES_PATH,
  tag: 'Balances',
  summary: 'What can be spent, what is held, and the grants behind it; now, or at a past moment',
  access: { role: 'member', scopes: ['tokens:read'], operators: false },
  query: balanceQuery,
  answers: {
    200: {
      description: 'Per token type. With `at`: what the ledger says was so then.',
      schema: z.union([balanceList, pastBalanceList]),
    },
  },
  problems: [],
  examples: [
    { title: 'Now', status: 200 },
    { title: 'At a past moment', query: { at: '2026-01-31T12:00:00Z' }, status: 200 },
  ],
});
