import { z } from 'zod';
import { defineFeature, systemPrompt } from './featureDefinition.ts';
import { answerText, line, paragraph } from './text.ts';

/** One business goal that can be measured, with its first step. */
export const generateGoal = defineFeature({
  input: z.strictObject({
    industry: line,
    horizonMonths: z.int().min(1).max(36),
    companyName: line.optional(),
    context: paragraph.optional(),
  }),
  output: z.object({
    title: answerText,
    why: answerText,
    measures: z
      .array(z.object({ name: answerText, target: answerText }))
      .min(1)
      .max(10),
    firstStep: answerText,
  }),
  prompt: (input) => ({
    system: systemPrompt(
      'generate_goal',
      'Propose one ambitious, measurable business goal for this company and horizon.',
    ),
    user: JSON.stringify(input),
  }),
});
