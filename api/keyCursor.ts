import type { KeyPosition } from '../db/apiKeys.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { isInstant, type ListOf, readCursor, writeCursor } from './listCursor.ts';

export function writeKeyCursor(list: ListOf, { createdAt, id }: KeyPosition): string {
  return writeCursor(list, [createdAt, id]);
}

/** Null for what is not a cursor of this list. */
export function readKeyCursor(list: ListOf, cursor: string): KeyPosition | null {
  const [createdAt = '', id = ''] = readCursor(list, cursor, 2) ?? [];
  const isPosition = isInstant(createdAt) && ID_PATTERN.test(id);
  return isPosition ? { createdAt, id } : null;
}
