import { z } from 'zod';
import { operation } from './operation.ts';
import { ORGANIZATION_PATH } from './organizations.ts';

const openHolds = z.int().min(1).max(1_000_000);
const openJobs = z.int().min(1).max(100_000);

/**
 * What `PUT /api/v1/organizations/{id}/caps` asks for: how many holds of each token type, and how many jobs that have not ended,
 * the organization may have at once; null: as many as is usual, 10,000 and 1,000.
 */
export const capsRequest = z
  .strictObject({ mostOpenHolds: z.nullable(openHolds), mostOpenJobs: z.nullable(openJobs) })
  .meta({ id: 'CapsRequest' });
export type CapsRequest = z.infer<typeof capsRequest>;

/** The caps in force. */
export const caps = z
  .strictObject({ organizationId: z.string(), mostOpenHolds: openHolds, mostOpenJobs: openJobs })
  .meta({ id: 'Caps' });
export type Caps = z.infer<typeof caps>;

export const setCaps = operation({
  id: 'setCaps',
  method: 'put',
  path: `${ORGANIZATION_PATH}/caps`,
  tag: 'Organizations',
  summary: 'Set how much an organization may have open at once',
  description: 'A cap below what is open ends nothing: nothing more is admitted until there is less.',
  access: 'operators',
  body: { schema: capsRequest },
  answers: { 200: { description: 'In force.', schema: caps } },
  problems: [],
  examples: [
    {
      title: 'More holds than is usual',
      params: { organizationId: 'org_acme' },
      body: { mostOpenHolds: 50_000, mostOpenJobs: null },
      status: 200,
      answer: { organizationId: 'org_acme', mostOpenHolds: 50_000, mostOpenJobs: 1_000 },
    },
  ],
});
