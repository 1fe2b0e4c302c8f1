import type { Problem } from '../contract/problems.ts';
import { TollgateError } from './tollgateError.ts';

export interface TollgateConfiguration {
  /** Where Tollgate's API is: `https://tollgate.example`. */
  url: string;
  /** For servers: a key of the organization. Never give it to a browser. */
  apiKey?: string;
  /** For browsers, and servers that act for a signed-in user: the session's access token, asked for with each request. */
  accessToken?: () => string | null | undefined | Promise<string | null | undefined>;
  /** How long one attempt may take, in milliseconds. Default 10,000. */
  timeoutMs?: number;
}

let configured: TollgateConfiguration | undefined;

/** Says, once, where Tollgate is and as whom to call it. Without it `TOLLGATE_URL` and `TOLLGATE_API_KEY` are read. */
export function configureTollgate(configuration: TollgateConfiguration): void {
  configured = configuration;
}

const ATTEMPTS = 4;
const DEFAULT_TIMEOUT_MS = 10_000;
const LONGEST_PAUSE_MS = 10_000;

/**
 * One request, with its repeats: an answer that never came, a 429 and a 503 are tried again, after Retry-After where that
 * is said. A write carries the same Idempotency-Key every time, so a repeat of what did take effect changes nothing.
 * Throws TollgateError.
 */
export async function request(path: string, write?: { body: unknown; idempotencyKey: string }): Promise<unknown> {
  const { url, apiKey, accessToken, timeoutMs = DEFAULT_TIMEOUT_MS } = configuration();
  for (let attempt = 1; ; attempt++) {
    const credential = accessToken === undefined ? apiKey : await accessToken();
    const sent = fetch(new URL(path, url), {
      method: write === undefined ? 'GET' : 'POST',
      headers: {
        ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
        ...(write === undefined ? {} : { 'Content-Type': 'application/json', 'Idempotency-Key': write.idempotencyKey }),
      },
      ...(write === undefined ? {} : { body: JSON.stringify(write.body) }),
      signal: AbortSignal.timeout(timeoutMs),
    }).then(async (response) => ({ response, text: await response.text() }));
    const answer = await sent.catch((cause: unknown) => ({ cause }));
    if ('response' in answer && answer.response.ok) return JSON.parse(answer.text);

    const retryAfterMs = 'response' in answer ? mayRepeat(answer.response) : 0;
    if (retryAfterMs === null || attempt === ATTEMPTS) throw trouble(answer);
    await pause(Math.max(retryAfterMs, Math.random() * 100 * 2 ** attempt));
  }
}

/** A write of one's own needs a key that nobody else has. */
export function newIdempotencyKey(): string {
  return crypto.randomUUID();
}

function configuration(): TollgateConfiguration {
  if (configured !== undefined) return configured;
  const env = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env ?? {};
  if (!env.TOLLGATE_URL) {
    throw new Error(
      'Tell where Tollgate is: configureTollgate({ url, apiKey }), or TOLLGATE_URL and TOLLGATE_API_KEY.',
    );
  }
  return { url: env.TOLLGATE_URL, ...(env.TOLLGATE_API_KEY ? { apiKey: env.TOLLGATE_API_KEY } : {}) };
}

/** How long to wait before the repeat, in milliseconds; null when a repeat would get the same answer. */
function mayRepeat(response: Response): number | null {
  if (response.status !== 429 && response.status !== 503) return null;
  const seconds = Number(response.headers.get('retry-after') ?? 0);
  return Number.isFinite(seconds) ? Math.min(seconds * 1_000, LONGEST_PAUSE_MS) : 0;
}

function trouble(answer: { response: Response; text: string } | { cause: unknown }): TollgateError {
  if ('cause' in answer) {
    return new TollgateError({
      code: 'unreachable',
      detail:
        'Tollgate cannot be reached. Whether the last request took effect is not known; repeat it under its Idempotency-Key.',
      cause: answer.cause,
    });
  }
  const { response, text } = answer;
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code === 'string') return new TollgateError(problem);
  } catch {
    // Not ours: a proxy's page, for example.
  }
  return new TollgateError({
    code: 'unreachable',
    detail: `Something between here and Tollgate answered ${response.status}. Check the url.`,
    cause: undefined,
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
