import { ID_PATTERN } from '../domain/ids.ts';
import { type ListOf, readCursor, writeCursor } from './listCursor.ts';

/** Where a page of a list of jobs ended. */
export interface JobPosition {
  createdAt: Date;
  id: string;
}

export function writeJobCursor(list: ListOf, { createdAt, id }: JobPosition): string {
  return writeCursor(list, [createdAt.toISOString(), id]);
}

/** Null for what is not a cursor of this list. */
export function readJobCursor(list: ListOf, cursor: string): JobPosition | null {
  const [at = '', id = ''] = readCursor(list, cursor, 2) ?? [];
  const createdAt = new Date(at);
  return Number.isNaN(createdAt.getTime()) || !ID_PATTERN.test(id) ? null : { createdAt, id };
}
