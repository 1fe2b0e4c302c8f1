import type { z } from 'zod';
import type { FieldError } from '../contract/problems.ts';

/** What a zod schema found, without repeating anything that was sent except names of fields that look like names. */
export function fieldErrors(error: z.ZodError): FieldError[] {
  return error.issues
    .flatMap((issue): FieldError[] =>
      issue.code === 'unrecognized_keys'
        ? issue.keys.map((key) => ({ path: fieldPath([...issue.path, key]), message: 'There is no such field.' }))
        : [{ path: fieldPath(issue.path), message: issue.message }],
    )
    .slice(0, MOST_ERRORS);
}

/** `input.goals.0.name`. A name of the caller's own making may hold anything, a secret included: it becomes `?`. */
export function fieldPath(path: readonly PropertyKey[]): string {
  return path
    .map((segment) => (typeof segment === 'number' || LOOKS_LIKE_A_NAME.test(String(segment)) ? String(segment) : '?'))
    .join('.');
}

const MOST_ERRORS = 50;
const LOOKS_LIKE_A_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/;
