import { createHash } from 'node:crypto';
import type { HoldPosition } from '../db/holdReads.ts';
import { HOLD_ID_PATTERN } from '../domain/ids.ts';

/** Which list a cursor belongs to. */
export interface HoldListOf {
  organizationId: string;
  state?: string | undefined;
  feature?: string | undefined;
}

/** Opaque to callers, with a digest that tells a damaged cursor, or one of another list, from ours: see jobCursor.ts. */
export function writeHoldCursor(list: HoldListOf, { expiresAt, id }: HoldPosition): string {
  return Buffer.from([expiresAt, id, digest(list, expiresAt, id)].join('|')).toString('base64url');
}

/** Null for what is not a cursor of this list. */
export function readHoldCursor(list: HoldListOf, cursor: string): HoldPosition | null {
  const [expiresAt = '', id = '', given] = Buffer.from(cursor, 'base64url').toString('latin1').split('|');
  if (!INSTANT.test(expiresAt) || Number.isNaN(Date.parse(expiresAt)) || !HOLD_ID_PATTERN.test(id)) return null;
  return given === digest(list, expiresAt, id) ? { expiresAt, id } : null;
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;

function digest({ organizationId, state, feature }: HoldListOf, expiresAt: string, id: string): string {
  return createHash('sha256')
    .update(JSON.stringify([organizationId, state ?? null, feature ?? null, expiresAt, id]))
    .digest('base64url')
    .slice(0, 12);
}
