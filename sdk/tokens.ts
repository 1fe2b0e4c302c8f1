import type { TokenDeduction, TokenRequest, TokenStats } from '../contract/tokens.ts';
import { type Feature, TOKEN_COSTS, TOKEN_LIMITS, TOKEN_TYPES, type TokenType } from '../domain/catalog.ts';
import { createTollgate, type Tollgate, type TollgateOptions } from './client.ts';
import { configuredTollgate, configureTollgate } from './configured.ts';
import type { CallOptions, TollgateConfiguration } from './connection.ts';
import type { OutageEvent, WhenUnreachable } from './outage.ts';
import { createMemoryQueue, type OutageQueue, type QueuedUse, type RefusedUse } from './outageQueue.ts';
import { isTollgateError, TollgateError, type TollgateErrorCode } from './tollgateError.ts';

/**
 * The five functions and two tables of the "AI token system", on Tollgate. They throw TollgateError when Tollgate cannot
 * answer or refuses the caller: an outage must not look like an empty balance. A plan without the feature and a balance
 * that does not suffice are answers, not errors.
 */

/** What is left of one token type, in whole tokens; 0 for a name that is no token type. */
export async function getTokenBalance(organizationId: string, tokenType: TokenType): Promise<number> {
  const balances = await getAllTokenBalances(organizationId);
  return Object.hasOwn(balances, tokenType) ? balances[tokenType] : 0;
}

/** Whether the organization can pay for the feature now. False on a plan without it, and for a name that is no feature. */
export async function hasEnoughTokens(organizationId: string, feature: Feature): Promise<boolean> {
  const { tokens } = configuredTollgate();
  const answer = await orNotAvailable(tokens.checkBalance({ organizationId, featureUsed: feature, action: 'check' }));
  return answer === 'feature_not_available' ? false : answer.hasTokens;
}

/** Every token type with what is left of it, in one query: `{ lead_generation: 50, … }`. */
export async function getAllTokenBalances(organizationId: string): Promise<Record<TokenType, number>> {
  const balances = Object.fromEntries(TOKEN_TYPES.map((type) => [type, 0])) as Record<TokenType, number>;
  for (const { tokenType, balance } of (await getTokenStats(organizationId)).byType) balances[tokenType] = balance;
  return balances;
}

/**
 * Charges what the feature costs, in one atomic step, once however often the connection fails meanwhile.
 *
 * The usage log names the user of the session. With an API key there is none, and `userId` is kept in the metadata as what
 * the app said.
 */
export async function deductTokens(
  organizationId: string,
  userId: string | null,
  feature: Feature,
  metadata: Record<string, unknown> = {},
  { idempotencyKey }: { idempotencyKey?: string } = {},
): Promise<TokenDeduction> {
  const answer = await orNotAvailable(
    configuredTollgate().tokens.checkBalance(
      {
        organizationId,
        featureUsed: feature,
        action: 'deduct',
        // What is no JSON is refused by Tollgate, with the place where it stands.
        metadata: (userId === null ? metadata : { ...metadata, userId }) as NonNullable<TokenRequest['metadata']>,
      },
      { idempotencyKey },
    ),
  );
  if (answer !== 'feature_not_available') return answer;
  return { success: false, remainingBalance: 0, message: 'Feature not available: the plan does not include it.' };
}

/** Totals and every token type with what is used, held and left, and the next refresh. */
export async function getTokenStats(organizationId: string): Promise<TokenStats> {
  return configuredTollgate().tokens.stats({ organizationId });
}

export {
  type CallOptions,
  configureTollgate,
  createMemoryQueue,
  createTollgate,
  type Feature,
  isTollgateError,
  type OutageEvent,
  type OutageQueue,
  type QueuedUse,
  type RefusedUse,
  TOKEN_COSTS,
  TOKEN_LIMITS,
  type TokenDeduction,
  type TokenStats,
  type TokenType,
  type Tollgate,
  type TollgateConfiguration,
  TollgateError,
  type TollgateErrorCode,
  type TollgateOptions,
  type WhenUnreachable,
};

async function orNotAvailable<Answer>(asked: Promise<Answer>): Promise<Answer | 'feature_not_available'> {
  try {
    return await asked;
  } catch (error) {
    if (isTollgateError(error, 'feature_not_available')) return 'feature_not_available';
    throw error;
  }
}
