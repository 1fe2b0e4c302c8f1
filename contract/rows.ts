import { z } from 'zod';
import { fieldError, PROBLEM_CODES, PROBLEMS, type ProblemCode, type ProblemMembers } from './problems.ts';

/** Where an array is taken instead of one object: so many rows at most. */
export const MOST_ROWS = 1_000;

/**
 * A row that was refused, among rows that were not. It is named as its request named it: by `key` in an array of holds, by
 * `id` in one of steps; null where that could not be read. A quote's row is known by its place.
 */
export const problemRow = z
  .strictObject({
    key: z.nullable(z.string()).optional(),
    id: z.nullable(z.string()).optional(),
    code: z.enum(PROBLEM_CODES),
    title: z.string(),
    detail: z.string(),
    errors: z.array(fieldError).optional(),
    required: z.int().optional(),
    available: z.int().optional(),
    tokenType: z.string().optional(),
  })
  .meta({ id: 'ProblemRow' });
export type ProblemRow = z.infer<typeof problemRow>;

/** How an array's row says a problem of the catalogue. Paths in `errors` begin at the row. */
export function problemRowOf(
  name: Pick<ProblemRow, 'key' | 'id'>,
  code: ProblemCode,
  { errors, required, available, tokenType }: ProblemMembers = {},
): ProblemRow {
  const { title, detail } = PROBLEMS[code];
  return {
    ...name,
    code,
    title,
    detail,
    ...(errors === undefined ? {} : { errors }),
    ...(required === undefined ? {} : { required }),
    ...(available === undefined ? {} : { available }),
    ...(tokenType === undefined ? {} : { tokenType }),
  };
}
