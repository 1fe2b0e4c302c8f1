import { z } from 'zod';
import { defineFeature, systemPrompt } from './featureDefinition.ts';
import { answerText, line, paragraph } from './text.ts';

/** Revenue month by month, in whole units of the currency, with the assumptions it rests on. */
export const forecastRevenue = defineFeature({
  input: z.strictObject({
    product: line,
    currency: z.string().regex(/^[A-Z]{3}$/, 'must be a currency code of three capital letters'),
    monthlyRevenue: z.array(z.int().min(0).max(1_000_000_000_000)).min(1).max(36),
    months: z.int().min(1).max(24).default(6),
    context: paragraph.optional(),
  }),
  output: z.object({
    months: z
      .array(z.object({ month: z.int().min(1), low: z.number(), expected: z.number(), high: z.number() }))
      .min(1)
      .max(24),
    assumptions: z.array(answerText).min(1).max(10),
  }),
  prompt: (input) => ({
    system: systemPrompt(
      'forecast_revenue',
      'Forecast the revenue for the wanted number of months with a low, an expected and a high figure each.',
    ),
    user: JSON.stringify(input),
  }),
});
