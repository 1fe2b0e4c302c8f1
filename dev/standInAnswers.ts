/** What the stand-in answers for each feature: always the same for the same input, and openly no real answer. */
export function answerFor(feature: string, input: Record<string, unknown>): string {
  return JSON.stringify(ANSWERS[feature]?.(input) ?? { text: 'Stand-in answer: no feature was named.' });
}

const ANSWERS: Record<string, (input: Record<string, unknown>) => unknown> = {
  generate_goal: (input) => ({
    title: `Stand-in goal for ${input.industry}: grow by a tenth in ${input.horizonMonths} months`,
    why: 'Stand-in reason: a tenth is easy to remember.',
    measures: [{ name: 'Stand-in measure: revenue', target: '+10 %' }],
    firstStep: 'Stand-in step: write down where you are today.',
  }),
  generate_leads: (input) => ({
    leads: Array.from({ length: Number(input.count) }, (_, index) => ({
      segment: `Stand-in segment ${index + 1} of ${input.industry} in ${input.region}`,
      reason: 'Stand-in reason: it is on the list.',
      openingLine: 'Stand-in line: how do you do this today?',
    })),
  }),
  analyze_strategy: () => ({
    summary: 'Stand-in summary: a strategy was given.',
    strengths: ['Stand-in strength: it is short.'],
    risks: ['Stand-in risk: nobody has read it.'],
    recommendation: 'Stand-in recommendation: ask a real model.',
  }),
  forecast_revenue: (input) => {
    const revenue = Array.isArray(input.monthlyRevenue) ? (input.monthlyRevenue as number[]) : [];
    const last = revenue.at(-1) ?? 0;
    return {
      months: Array.from({ length: Number(input.months) }, (_, index) => ({
        month: index + 1,
        low: last * 0.9,
        expected: last,
        high: last * 1.1,
      })),
      assumptions: ['Stand-in assumption: every month is like the last one.'],
    };
  },
  generate_insight: (input) => ({
    insight: `Stand-in insight about ${input.topic}: there is more to it.`,
    evidence: ['Stand-in evidence.'],
    confidence: 'low',
  }),
};
