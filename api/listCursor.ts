import { createHash } from 'node:crypto';
import { problemReply } from './problemReply.ts';
import type { ApiContext } from './requestContext.ts';

/** What tells a list from others: the organization, then what it was asked to be narrowed or ordered by. */
export type ListOf = readonly (string | undefined)[];

/**
 * Where a page of a list ended. A cursor is opaque to callers. The digest in it is no secret (row-level security guards the
 * rows): it tells a damaged cursor, or one of another list, from one of ours, so that nobody reads a page of the wrong list.
 * No part may hold a `|`.
 */
export function writeCursor(list: ListOf, position: readonly string[]): string {
  return Buffer.from([...position, digest(list, position)].join('|')).toString('base64url');
}

/** The position, or null for what is not a cursor of this list. Its parts are as they were written, and still to be understood. */
export function readCursor(list: ListOf, cursor: string, parts: number): string[] | null {
  const read = Buffer.from(cursor, 'base64url').toString('latin1').split('|');
  const position = read.slice(0, parts);
  return position.length === parts && read[parts] === digest(list, position) ? position : null;
}

/** Of an instant that a position holds, with its microseconds, as the database writes it. */
export function isInstant(text: string): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/.test(text) && !Number.isNaN(Date.parse(text));
}

/** A page of rows, of which one more than asked for was read: whether it is there tells whether there is a next page. */
export function pageOf<Row>(
  found: readonly Row[],
  limit: number,
  cursorOf: (last: Row) => string,
): { page: Row[]; nextCursor: string | null } {
  const page = found.slice(0, limit);
  return { page, nextCursor: found.length > limit ? cursorOf(page.at(-1)!) : null };
}

/** The answer to a cursor that is none of this list. */
export function refuseCursor(c: ApiContext): Response {
  return problemReply(c, 'invalid_request', {
    errors: [{ path: 'cursor', message: 'is not the nextCursor of a page of this list' }],
  });
}

function digest(list: ListOf, position: readonly string[]): string {
  return createHash('sha256')
    .update(JSON.stringify([...list.map((part) => part ?? null), ...position]))
    .digest('base64url')
    .slice(0, 12);
}
