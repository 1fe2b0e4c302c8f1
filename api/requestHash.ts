import { createHash } from 'node:crypto';

/**
 * What makes two requests under one Idempotency-Key the same: SHA-256 over what was asked for (`POST /api/v1/jobs`) and
 * the body with its keys in a fixed order, so that neither their order nor white space matters. Over the body as it was sent, not as it was validated: a later
 * version that fills in another default must still know the repeat of an earlier request.
 */
export function requestHash(route: string, body: unknown): Buffer {
  return createHash('sha256')
    .update(`${route}\n${canonicalJson(body)}`)
    .digest();
}

function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    part !== null && typeof part === 'object' && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
