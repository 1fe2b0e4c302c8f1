import { z } from 'zod';
import { defineFeature, systemPrompt } from './featureDefinition.ts';
import { answerText, line, paragraph } from './text.ts';

/** Kinds of companies worth approaching, with a reason and an opening line. */
export const generateLeads = defineFeature({
  input: z.strictObject({
    industry: line,
    region: line,
    count: z.int().min(1).max(20).default(5),
    idealCustomer: paragraph.optional(),
  }),
  output: z.object({
    leads: z
      .array(z.object({ segment: answerText, reason: answerText, openingLine: answerText }))
      .min(1)
      .max(20),
  }),
  prompt: (input) => ({
    system: systemPrompt(
      'generate_leads',
      'Describe market segments of companies worth approaching. Name segments and traits, never real persons.',
    ),
    user: JSON.stringify(input),
  }),
});
