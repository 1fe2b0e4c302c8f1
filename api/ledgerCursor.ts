import { createHash } from 'node:crypto';

/** Which list a cursor belongs to. */
export interface LedgerListOf {
  organizationId: string;
  tokenType: string;
  order: string;
}

/** Opaque to callers, with a digest that tells a damaged cursor, or one of another list, from ours: see jobCursor.ts. */
export function writeLedgerCursor(list: LedgerListOf, entryNumber: number): string {
  return Buffer.from(`${entryNumber}|${digest(list, `${entryNumber}`)}`).toString('base64url');
}

/** The entry that the page before ended with; null for what is not a cursor of this list. */
export function readLedgerCursor(list: LedgerListOf, cursor: string): number | null {
  const [entryNumber = '', given] = Buffer.from(cursor, 'base64url').toString('latin1').split('|');
  return given === digest(list, entryNumber) ? Number(entryNumber) : null;
}

function digest({ organizationId, tokenType, order }: LedgerListOf, entryNumber: string): string {
  return createHash('sha256')
    .update(JSON.stringify([organizationId, tokenType, order, entryNumber]))
    .digest('base64url')
    .slice(0, 12);
}
