import type { TokenDeduction, TokenStats } from '../contract/tokens.ts';
import type { Deduction, TokenTypeStats } from '../db/tokens.ts';

/** What a deduction answers, made or refused for want of tokens. */
export function writeDeduction({ outcome, tokens, tokenType, available }: Deduction): TokenDeduction {
  const remainingBalance = available ?? 0;
  return outcome === 'deducted'
    ? {
        success: true,
        remainingBalance,
        message: `Deducted ${tokens} ${tokenType} tokens. ${remainingBalance} are left.`,
      }
    : { success: false, remainingBalance, message: insufficient({ tokens, tokenType, available }) };
}

export function insufficient({ tokens, tokenType, available }: Pick<Deduction, 'tokens' | 'tokenType' | 'available'>) {
  return `Insufficient tokens: this needs ${tokens} ${tokenType} tokens, ${available} are left. Buy tokens or wait for the next refresh.`;
}

export const UNKNOWN_FEATURE = 'There is no such feature. Ask for one of the features of the catalogue.';

export function writeStats(types: readonly TokenTypeStats[]): TokenStats {
  const total = (amount: (type: TokenTypeStats) => number) => types.reduce((sum, type) => sum + amount(type), 0);
  const refreshDates = types.map((type) => type.refreshDate.toISOString());
  return {
    totalBalance: total((type) => type.available),
    totalUsed: total((type) => type.used),
    totalAllocated: total((type) => type.allocated),
    byType: types.map(({ tokenType, available, held, used, allocated, refreshDate }) => ({
      tokenType,
      balance: available,
      held,
      used,
      allocated,
      percentUsed: allocated === 0 ? 0 : Math.round((used / allocated) * 100),
      refreshDate: refreshDate.toISOString(),
    })),
    refreshDate: refreshDates.toSorted()[0] ?? null,
  };
}
