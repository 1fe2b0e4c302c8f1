import { type ListOf, readCursor, writeCursor } from './listCursor.ts';

export function writeLedgerCursor(list: ListOf, entryNumber: number): string {
  return writeCursor(list, [`${entryNumber}`]);
}

/** The entry that the page before ended with; null for what is not a cursor of this list. */
export function readLedgerCursor(list: ListOf, cursor: string): number | null {
  const [entryNumber = ''] = readCursor(list, cursor, 1) ?? [];
  return /^[1-9]\d{0,15}$/.test(entryNumber) ? Number(entryNumber) : null;
}
