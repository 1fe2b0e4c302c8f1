import { z } from 'zod';
import { defineFeature, systemPrompt } from './featureDefinition.ts';
import { answerText, line, paragraph } from './text.ts';

/** One insight out of a few observations. */
export const generateInsight = defineFeature({
  input: z.strictObject({
    topic: line,
    observations: z.array(paragraph).max(20).default([]),
  }),
  output: z.object({
    insight: answerText,
    evidence: z.array(answerText).max(10),
    confidence: z.enum(['low', 'medium', 'high']),
  }),
  prompt: (input) => ({
    system: systemPrompt('generate_insight', 'Draw one useful insight from the observations and say how sure you are.'),
    user: JSON.stringify(input),
  }),
});
