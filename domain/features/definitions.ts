import type { z } from 'zod';
import type { Feature } from '../catalog.ts';
import { analyzeStrategy } from './analyzeStrategy.ts';
import type { FeatureDefinition } from './featureDefinition.ts';
import { forecastRevenue } from './forecastRevenue.ts';
import { generateGoal } from './generateGoal.ts';
import { generateInsight } from './generateInsight.ts';
import { generateLeads } from './generateLeads.ts';

const definitions = {
  generate_leads: generateLeads,
  generate_goal: generateGoal,
  analyze_strategy: analyzeStrategy,
  forecast_revenue: forecastRevenue,
  generate_insight: generateInsight,
};

/** Every feature of the catalogue, by its name. */
export const FEATURE_DEFINITIONS: Readonly<Record<Feature, FeatureDefinition>> = definitions;

/** What a feature is asked with, and what it answers, for whoever knows which one it is. */
export type FeatureInput<Of extends Feature> = z.input<(typeof definitions)[Of]['input']>;
export type FeatureOutput<Of extends Feature> = z.output<(typeof definitions)[Of]['output']>;
