import { isInstant, type ListOf, readCursor, writeCursor } from './listCursor.ts';

/** Where a page of the usage log ended: `at` with its microseconds. */
export interface UsagePosition {
  at: string;
  id: number;
}

export function writeUsageCursor(list: ListOf, { at, id }: UsagePosition): string {
  return writeCursor(list, [at, `${id}`]);
}

/** Null for what is not a cursor of this list. */
export function readUsageCursor(list: ListOf, cursor: string): UsagePosition | null {
  const [at = '', id = ''] = readCursor(list, cursor, 2) ?? [];
  const isPosition = isInstant(at) && /^[1-9]\d{0,15}$/.test(id);
  return isPosition ? { at, id: Number(id) } : null;
}
