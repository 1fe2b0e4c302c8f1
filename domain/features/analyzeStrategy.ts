import { z } from 'zod';
import { defineFeature, systemPrompt } from './featureDefinition.ts';
import { answerText, paragraph } from './text.ts';

/** What speaks for a strategy, what against it, and what to do next. */
export const analyzeStrategy = defineFeature({
  input: z.strictObject({
    strategy: paragraph,
    question: paragraph.optional(),
  }),
  output: z.object({
    summary: answerText,
    strengths: z.array(answerText).min(1).max(10),
    risks: z.array(answerText).min(1).max(10),
    recommendation: answerText,
  }),
  prompt: (input) => ({
    system: systemPrompt('analyze_strategy', 'Weigh the strategy soberly: strengths, risks, one recommendation.'),
    user: JSON.stringify(input),
  }),
});
