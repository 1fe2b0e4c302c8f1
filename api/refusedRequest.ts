import type { z } from 'zod';
import { type Refused, refused } from './answer.ts';
import { fieldErrors } from './fieldErrors.ts';

/** What is told of a body that names a feature and is not what its schema takes. */
export function refusedRequest(body: unknown, error: z.ZodError): Refused {
  const code = namesNoFeature(body, error) ? 'feature_unknown' : 'invalid_request';
  return refused(code, { errors: fieldErrors(error) });
}

/** Whether what is wrong is a feature's name that is in no catalogue, as opposed to something that is no name. */
function namesNoFeature(body: unknown, { issues }: z.ZodError): boolean {
  const feature = (body as { feature?: unknown } | null)?.feature;
  return typeof feature === 'string' && issues.some(({ path }) => path[0] === 'feature');
}
