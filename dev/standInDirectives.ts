/** A wish to the stand-in. `times`: for the first so many calls under an idempotency key; null: for every call. */
export type Directive = { times: number | null } & (
  | { verb: 'fail'; status: number; retryAfterSeconds: number | null }
  | { verb: 'delay'; milliseconds: number }
  | { verb: 'hang' }
  | { verb: 'hold' }
  | { verb: 'cut' }
  | { verb: 'garbage' }
);

/**
 * Reads `[[stand-in: …]]` out of an input, several wishes separated by `;`:
 *
 * - `fail STATUS [retry-after SECONDS] [xN]`, `refuse [xN]` (a 400)
 * - `cut [xN]`: half an answer, then the connection breaks
 * - `garbage [xN]`: an answer that does not fit
 * - `delay MILLISECONDS`, `hang` (never an answer), `hold` (until POST /stand-in/release)
 */
export function readDirectives(text: string): Directive[] {
  const wishes = /\[\[stand-in: ([^\]]*)\]\]/.exec(text)?.[1] ?? '';
  return wishes
    .split(';')
    .map((wish) => wish.trim())
    .filter((wish) => wish !== '')
    .map(readDirective);
}

function readDirective(wish: string): Directive {
  const times = Number(/\bx(\d+)\b/.exec(wish)?.[1] ?? Number.NaN);
  const limit = { times: Number.isNaN(times) ? null : times };
  const [verb, number] = wish.split(/\s+/);
  switch (verb) {
    case 'fail': {
      if (!/^[45]\d\d$/.test(number ?? '')) throw new Error(`"${wish}" names no status to fail with.`);
      const retryAfter = /retry-after (\d+)/.exec(wish)?.[1];
      return {
        verb,
        status: Number(number),
        retryAfterSeconds: retryAfter === undefined ? null : Number(retryAfter),
        ...limit,
      };
    }
    case 'refuse':
      return { verb: 'fail', status: 400, retryAfterSeconds: null, ...limit };
    case 'delay':
      return { verb, milliseconds: Number(number), ...limit };
    case 'hang':
    case 'hold':
    case 'cut':
    case 'garbage':
      return { verb, ...limit };
    default:
      throw new Error(`The stand-in does not know the wish "${verb}".`);
  }
}
