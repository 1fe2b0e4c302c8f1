import { createHash } from 'node:crypto';
import type { admitJob } from '../../db/jobs.ts';
import type { TestOrganization } from './organization.ts';

export type AdmissionRequest = Parameters<typeof admitJob>[1];

/** What the API asks of `admitJob`: generate_leads for 5 tokens, a minute until it must begin, 75 seconds of work. */
export function admissionOf(
  { organizationId, principal }: TestOrganization,
  jobId: string,
  change: Partial<AdmissionRequest> = {},
): AdmissionRequest {
  const request = { feature: 'generate_leads', input: { prompt: 'Grow' }, ...change };
  return {
    organizationId,
    principal,
    jobId,
    idempotencyKey: `key-${jobId}`,
    requestHash: createHash('sha256').update(JSON.stringify(request.input)).digest(),
    holdLifetimeMs: 60_000,
    timeBudgetMs: 75_000,
    ...request,
  };
}
