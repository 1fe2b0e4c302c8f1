/**
 * The catalogue: what there is to buy tokens for, what it costs, and what a plan brings each month.
 *
 * This file is the source. `db/catalogue.ts` writes it into versioned rows that the SQL functions read; a process that
 * starts against a database holding another catalogue refuses to start and says so.
 *
 * Units: every amount is a whole number of tokens of the named token type.
 */

export const TOKEN_TYPES = ['lead_generation', 'goal_generation', 'strategy_analysis', 'forecast', 'general'] as const;
export type TokenType = (typeof TOKEN_TYPES)[number];

export const FEATURES = [
  'generate_leads',
  'generate_goal',
  'analyze_strategy',
  'forecast_revenue',
  'generate_insight',
] as const;
export type Feature = (typeof FEATURES)[number];

export const PLANS = ['starter', 'pro', 'enterprise'] as const;
export type Plan = (typeof PLANS)[number];

/** The token type that a feature is paid with. */
export const FEATURE_TOKEN_TYPES: Readonly<Record<Feature, TokenType>> = {
  generate_leads: 'lead_generation',
  generate_goal: 'goal_generation',
  analyze_strategy: 'strategy_analysis',
  forecast_revenue: 'forecast',
  generate_insight: 'general',
};

/** Tokens that one run of a feature costs. */
export const TOKEN_COSTS: Readonly<Record<Feature, number>> = {
  generate_leads: 5,
  generate_goal: 3,
  analyze_strategy: 2,
  forecast_revenue: 4,
  generate_insight: 1,
};

/**
 * The monthly allowance of each plan. Zero means that the plan does not include the features of that token type: they
 * are refused as "feature not available", whatever the balance.
 */
export const TOKEN_LIMITS: Readonly<Record<Plan, Readonly<Record<TokenType, number>>>> = {
  starter: { lead_generation: 0, goal_generation: 0, strategy_analysis: 0, forecast: 0, general: 0 },
  pro: { lead_generation: 50, goal_generation: 20, strategy_analysis: 100, forecast: 30, general: 50 },
  enterprise: { lead_generation: 500, goal_generation: 200, strategy_analysis: 1000, forecast: 200, general: 500 },
};

/**
 * In which order a plan's organizations burn their grants, after the grants' own priority. `soonest_expiry`: what expires
 * soonest, then free before paid, then oldest. `free_first`: free before paid, then what expires soonest, then oldest.
 */
export type BurnOrder = 'soonest_expiry' | 'free_first' | 'oldest' | 'newest';
export const BURN_ORDERS: Readonly<Record<Plan, BurnOrder>> = {
  starter: 'soonest_expiry',
  pro: 'soonest_expiry',
  enterprise: 'soonest_expiry',
};

/**
 * Token types that a feature may be paid with, in this order, once its own cannot bear a whole hold: for as many tokens as it
 * costs of its own. A feature that is not named is paid with its own type only.
 */
export const TOKEN_FALLBACKS: Readonly<Record<Plan, Readonly<Partial<Record<Feature, readonly TokenType[]>>>>> = {
  starter: {},
  pro: {},
  enterprise: {},
};

export function isFeature(value: string): value is Feature {
  return (FEATURES as readonly string[]).includes(value);
}
