import { z } from 'zod';
import { operation } from './operation.ts';

export const RETENTION_PATH = '/api/v1/organizations/{organizationId}/retention';

const MOST_DAYS = 3_650;
const days = z.int().min(1).max(MOST_DAYS);

/**
 * For how many days of 24 hours something is kept: a job's input and its result after the job has ended (null: for ever), and
 * idempotency records after their request. Until it is set: null, null, 90.
 */
export const retention = z
  .strictObject({
    promptDays: z.nullable(days),
    resultDays: z.nullable(days),
    idempotencyDays: days,
  })
  .meta({ id: 'Retention' });
export type Retention = z.infer<typeof retention>;

export const getRetention = operation({
  id: 'getRetention',
  method: 'get',
  path: RETENTION_PATH,
  tag: 'Organizations',
  summary: 'For how long prompts, results and idempotency records are kept',
  access: { role: 'member', scopes: ['organization:read'], operators: true },
  answers: { 200: { description: 'As it is set, or as it is without being set.', schema: retention } },
  problems: ['organization_not_found'],
  examples: [{ title: 'Read', params: { organizationId: 'org_1' }, status: 200 }],
});

export const setRetention = operation({
  id: 'setRetention',
  method: 'put',
  path: RETENTION_PATH,
  tag: 'Organizations',
  summary: 'Set for how long prompts, results and idempotency records are kept',
  description:
    'What is over is erased within the hour and cannot be brought back. A key whose record is gone is new again: a repeat under it would be charged.',
  access: { role: 'admin', scopes: ['organization:write'], operators: true },
  body: { schema: retention },
  answers: { 200: { description: 'As it is set now.', schema: retention } },
  problems: ['organization_not_found'],
  examples: [
    {
      title: 'Prompts for a month, results for a year',
      params: { organizationId: 'org_1' },
      body: { promptDays: 30, resultDays: 365, idempotencyDays: 90 },
      status: 200,
    },
  ],
});
