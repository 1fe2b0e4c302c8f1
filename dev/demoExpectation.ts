/**
 * What every number of the demo must be, counted from the price list and the allowance as they are published, apart from
 * the product: nothing of domain/ or db/ is imported here, so a wrong catalogue or a wrong charge cannot agree with itself.
 */
export type Feature = 'generate_leads' | 'generate_goal' | 'analyze_strategy' | 'forecast_revenue' | 'generate_insight';
export type TokenType = 'lead_generation' | 'goal_generation' | 'strategy_analysis' | 'forecast' | 'general';

const PRICE_LIST: Record<Feature, readonly [TokenType, number]> = {
  generate_leads: ['lead_generation', 5],
  generate_goal: ['goal_generation', 3],
  analyze_strategy: ['strategy_analysis', 2],
  forecast_revenue: ['forecast', 4],
  generate_insight: ['general', 1],
};

export class Expectation {
  readonly #left: Record<TokenType, number> = {
    lead_generation: 50,
    goal_generation: 20,
    strategy_analysis: 100,
    forecast: 30,
    general: 50,
  };
  #tokens = 0;
  #charges = 0;

  charge(feature: Feature): void {
    const [tokenType, price] = PRICE_LIST[feature];
    this.#left[tokenType] -= price;
    this.#tokens += price;
    this.#charges += 1;
  }

  priceOf(feature: Feature): number {
    return PRICE_LIST[feature][1];
  }

  balances(): Record<TokenType, number> {
    return { ...this.#left };
  }

  usage(): { tokens: number; charges: number } {
    return { tokens: this.#tokens, charges: this.#charges };
  }
}
