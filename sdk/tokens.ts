import type { TokenCheck, TokenDeduction, TokenStats } from '../contract/tokens.ts';
import { type Feature, TOKEN_COSTS, TOKEN_LIMITS, TOKEN_TYPES, type TokenType } from '../domain/catalog.ts';
import { configureTollgate, newIdempotencyKey, request, type TollgateConfiguration } from './connection.ts';
import { TollgateError } from './tollgateError.ts';

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
  const answer = await checkBalance<TokenCheck>({ organizationId, featureUsed: feature, action: 'check' });
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
  const answer = await checkBalance<TokenDeduction>(
    {
      organizationId,
      featureUsed: feature,
      action: 'deduct',
      metadata: userId === null ? metadata : { ...metadata, userId },
    },
    idempotencyKey,
  );
  if (answer !== 'feature_not_available') return answer;
  return { success: false, remainingBalance: 0, message: 'Feature not available: the plan does not include it.' };
}

/** Totals and every token type with what is used, held and left, and the next refresh. */
export async function getTokenStats(organizationId: string): Promise<TokenStats> {
  const query = new URLSearchParams({ organizationId });
  return (await request<TokenStats>(`/api/v1/tokens/stats?${query}`)).answer;
}

export {
  configureTollgate,
  type Feature,
  TOKEN_COSTS,
  TOKEN_LIMITS,
  type TokenDeduction,
  type TokenStats,
  type TokenType,
  type TollgateConfiguration,
  TollgateError,
};

async function checkBalance<Answer>(
  body: { organizationId: string; featureUsed: string; action: 'check' | 'deduct'; metadata?: Record<string, unknown> },
  idempotencyKey = newIdempotencyKey(),
): Promise<Answer | 'feature_not_available'> {
  try {
    return (await request<Answer>('/api/v1/tokens/check-balance', { body, idempotencyKey })).answer;
  } catch (error) {
    if (error instanceof TollgateError && error.code === 'feature_not_available') return 'feature_not_available';
    throw error;
  }
}
