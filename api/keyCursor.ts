import type { KeyPosition } from '../db/apiKeys.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { type ListOf, readCursor, writeCursor } from './listCursor.ts';

export function writeKeyCursor(list: ListOf, { createdAt, id }: KeyPosition): string {
  return writeCursor(list, [createdAt, id]);
}

/** Null for what is not a cursor of this list. */
export function readKeyCursor(list: ListOf, cursor: string): KeyPosition | null {
  const [createdAt = '', id = ''] = readCursor(list, cursor, 2) ?? [];
  const isPosition = INSTANT.test(createdAt) && !Number.isNaN(Date.parse(createdAt)) && ID_PATTERN.test(id);
  return isPosition ? { createdAt, id } : null;
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
