import type { HoldPosition } from '../db/holdReads.ts';
import { HOLD_ID_PATTERN } from '../domain/ids.ts';
import { isInstant, type ListOf, readCursor, writeCursor } from './listCursor.ts';

export function writeHoldCursor(list: ListOf, { expiresAt, id }: HoldPosition): string {
  return writeCursor(list, [expiresAt, id]);
}

/** Null for what is not a cursor of this list. */
export function readHoldCursor(list: ListOf, cursor: string): HoldPosition | null {
  const [expiresAt = '', id = ''] = readCursor(list, cursor, 2) ?? [];
  const isPosition = isInstant(expiresAt) && (id === '' || HOLD_ID_PATTERN.test(id));
  return isPosition ? { expiresAt, id } : null;
}
