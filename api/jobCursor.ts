import { createHash } from 'node:crypto';
import { ID_PATTERN } from '../domain/ids.ts';

/** Where a page of a list of jobs ended. */
export interface JobPosition {
  createdAt: Date;
  id: string;
}

/** Which list a cursor belongs to. */
export interface JobListOf {
  organizationId: string;
  state?: string | undefined;
  feature?: string | undefined;
}

/**
 * A cursor is opaque to callers. The digest in it is no secret (row-level security guards the rows): it tells a damaged
 * cursor, or one of another list, from one of ours, so that nobody reads a page of the wrong list.
 */
export function writeJobCursor(list: JobListOf, { createdAt, id }: JobPosition): string {
  const at = createdAt.toISOString();
  return Buffer.from([at, id, digest(list, at, id)].join('|')).toString('base64url');
}

/** Null for what is not a cursor of this list. */
export function readJobCursor(list: JobListOf, cursor: string): JobPosition | null {
  const [at = '', id = '', given] = Buffer.from(cursor, 'base64url').toString('latin1').split('|');
  const createdAt = new Date(at);
  if (Number.isNaN(createdAt.getTime()) || !ID_PATTERN.test(id) || given !== digest(list, at, id)) return null;
  return { createdAt, id };
}

function digest({ organizationId, state, feature }: JobListOf, at: string, id: string): string {
  return createHash('sha256')
    .update(JSON.stringify([organizationId, state ?? null, feature ?? null, at, id]))
    .digest('base64url')
    .slice(0, 12);
}
