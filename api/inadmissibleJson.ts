import type { FieldError } from '../contract/problems.ts';
import { fieldPath } from './fieldErrors.ts';

/**
 * JSON that parses but that we do not take: two readers could understand it differently (the same key twice), or
 * PostgreSQL cannot store it (NUL, half of a surrogate pair), or it is a trap (`__proto__`, depth). Finds every trouble,
 * with the row that it is in where the text is an array; paths begin there.
 *
 * JSON.parse shows neither repeated keys nor where it found them, so this looks at the text. The text must be valid JSON.
 */
export function* inadmissibleJson(text: string): Generator<{ row: number | null; error: FieldError }> {
  const open: Container[] = [];
  let isKeyNext = false;
  const trouble = (message: string) => {
    const [first, ...rest] = open.map(({ at }) => at);
    return typeof first === 'number'
      ? { row: first, error: { path: fieldPath(rest), message } }
      : { row: null, error: { path: fieldPath(first === undefined ? [] : [first, ...rest]), message } };
  };

  for (let index = 0; index < text.length; index++) {
    const top = open.at(-1);
    switch (text[index]) {
      case '{':
      case '[': {
        // Ends it, whatever stands in the rows behind: nobody nests so deep by mistake.
        if (open.length === MAX_DEPTH) {
          yield { row: null, error: { path: fieldPath(open.map(({ at }) => at)), message: DEEP } };
          return;
        }
        const keys = text[index] === '{' ? new Set<string>() : null;
        open.push({ keys, at: keys ? '' : 0 });
        isKeyNext = keys !== null;
        break;
      }
      case '}':
      case ']':
        open.pop();
        isKeyNext = false;
        break;
      case ',':
        if (top && typeof top.at === 'number') top.at += 1;
        isKeyNext = top?.keys != null;
        break;
      case '"': {
        const end = endOfString(text, index);
        const written = text.slice(index + 1, end);
        const value: string = written.includes('\\') ? JSON.parse(`"${written}"`) : written;
        index = end;
        if (isKeyNext && top?.keys) {
          top.at = value;
          if (value === '__proto__') yield trouble('is not a field name that is taken');
          if (top.keys.has(value)) yield trouble('is there more than once');
          top.keys.add(value);
          isKeyNext = false;
        }
        if (value.includes('\0')) yield trouble('holds a NUL character');
        if (!value.isWellFormed()) yield trouble('holds half of a surrogate pair');
        break;
      }
    }
  }
}

const MAX_DEPTH = 20;
const DEEP = `is nested more than ${MAX_DEPTH} levels deep`;

interface Container {
  /** The keys seen so far; null for an array. */
  keys: Set<string> | null;
  /** The key or index that is being read. */
  at: string | number;
}

function endOfString(text: string, start: number): number {
  let end = start + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end;
}
