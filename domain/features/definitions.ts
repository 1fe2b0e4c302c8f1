import type { Feature } from '../catalog.ts';
import { analyzeStrategy } from './analyzeStrategy.ts';
import type { FeatureDefinition } from './featureDefinition.ts';
import { forecastRevenue } from './forecastRevenue.ts';
import { generateGoal } from './generateGoal.ts';
import { generateInsight } from './generateInsight.ts';
import { generateLeads } from './generateLeads.ts';

/** Every feature of the catalogue, by its name. */
export const FEATURE_DEFINITIONS: Readonly<Record<Feature, FeatureDefinition>> = {
  generate_leads: generateLeads,
  generate_goal: generateGoal,
  analyze_strategy: analyzeStrategy,
  forecast_revenue: forecastRevenue,
  generate_insight: generateInsight,
};
